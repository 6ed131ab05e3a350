"""How admin's parts are put together: each is made in one place."""
