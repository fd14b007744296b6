"""How a request to etcd can fail, as far as it matters to who made it."""


class Unavailable(Exception):
    """No answer; whether the request was carried out is unknown. Worth a retry."""


class Busy(Unavailable):
    """The cluster answers that it can't now; another endpoint would say the same."""


class Unusable(Unavailable):
    """This endpoint won't do, however often it is asked; another one may."""


class NoSuchApi(Unusable):
    """The server at this endpoint does not offer the API that it was asked for."""


class Refused(Exception):
    """The cluster answers that it won't. A retry would not help."""


class Denied(Refused):
    """The cluster does not let this user do that; the message says what to grant."""
