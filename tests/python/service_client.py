"""A client of a service that shares no code with the node: it speaks as rmw_cyclonedds does."""

from itertools import count

from robot import wait_for
from sim.dds import RELIABLE, Node

CLIENTS = count(1)
"""What tells the clients of this process apart."""


class ServiceClient:
    """A client of one service. Requests and replies begin with sixteen bytes: whose it is, and which."""

    def __init__(self, participant: Node, name: str, request: type, response: type) -> None:
        """`name` is that of the service with its node's: `vjepa_planner/enable`."""
        self._requests = participant.raw_writer(f"rq/{name}Request", request, RELIABLE)
        self._replies = participant.raw_reader(f"rr/{name}Reply", response, RELIABLE)
        self._request = request
        self._name = name
        self._client = next(CLIENTS)
        self._number = 0

    def send(self, *arguments: object) -> None:
        """Sends a request when the service is there, and does not wait for the answer."""

        def there() -> bool:
            return bool(
                self._requests.get_matched_subscriptions() and self._replies.get_matched_publications()
            )

        wait_for(there, 30, f"the service {self._name}")
        self._number += 1
        self._requests.write(self._request(self._client, self._number, *arguments))

    def answer(self, limit_s: float = 5):
        """The answer to the last request."""
        own = (self._client, self._number)

        def ours():
            # Replies to all clients come on one topic. A sample that tells of a writer's end has no fields.
            replies = [reply for reply in self._replies.take(10) if hasattr(reply, "number")]
            return next((reply for reply in replies if (reply.client, reply.number) == own), None)

        return wait_for(ours, limit_s, f"a reply of {self._name}")

    def call(self, *arguments: object, limit_s: float = 5):
        """Calls and returns the answer."""
        self.send(*arguments)
        return self.answer(limit_s)
