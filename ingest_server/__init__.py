"""The way in: chooses a storage element for each upload and passes the bytes through."""
