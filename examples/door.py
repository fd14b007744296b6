"""A worker that can be asked while it runs; docs/around.md tells how."""

from elaunch.control_plane import Request, Response, register_handler, worker_main


def answer(request: Request, response: Response) -> None:
    """Tell the loss of what was asked for."""
    response.set_content(f"loss of {request.get_param('of')}: 0.25", "text/plain")


@worker_main()
def main() -> None:
    """Train, with the door open."""
    register_handler("loss", answer)
    print("the door is open")  # while the training goes on


main()
