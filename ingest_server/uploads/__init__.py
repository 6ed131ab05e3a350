"""Uploads on their way to an element: opened, forwarded, resumed, recognised when repeated."""
