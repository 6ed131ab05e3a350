"""storage_server"""
