"""How the element's parts are put together: each is made in one place, which tests call too."""
