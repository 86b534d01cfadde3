"""Reads a recording with `mcap`, `mcap-ros2-support` and `rosbags`, and says what is in it; ends with an
error when a message does not have the content that tests/recording.rs wrote."""

import json
import sys
from pathlib import Path

from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
from rosbags.highlevel import AnyReader


def check(topic: str, message) -> None:
    """Fails when a message is not the one that was written."""
    if topic == "/joint_states":
        assert list(message.name) == ["panda_joint1", "panda_joint2"], message.name
        assert list(message.position) == [0.5, -0.25], message.position
        assert message.header.frame_id == "panda_link0", message.header
    elif topic == "/camera/image_raw/compressed":
        assert message.format == "jpeg", message.format
        assert bytes(message.data)[:3] == b"\xff\xd8\xff", "no JPEG"
    elif topic == "/planner/shadow/step":
        assert json.loads(message.data)["energy"] == 0.25, message.data
    elif topic == "/planner/status":
        assert message.values[0].value == "shadow", message
    elif topic == "/planner/latent":
        assert message.layout.dim[-1].label == "f16le", message.layout
        assert len(message.data) == 16, len(message.data)
    elif topic == "/planner/plan":
        assert message.poses[1].pose.orientation.w == 1.0, message


def main() -> None:
    """Reads the folder named on the command line."""
    folder = Path(sys.argv[1])
    topics = set()
    for file in sorted(folder.glob("*.mcap")):
        with file.open("rb") as stream:
            reader = make_reader(stream, decoder_factories=[DecoderFactory()])
            assert reader.get_summary() is not None, "no summary"
            assert reader.get_header().profile == "ros2", reader.get_header()
            names = sorted(attachment.name for attachment in reader.iter_attachments())
            facts = [record for record in reader.iter_metadata() if record.name == "vjepa_planner"]
            assert facts[0].metadata["software_version"] == "test", facts
            for _, channel, _, decoded in reader.iter_decoded_messages():
                check(channel.topic, decoded)
                topics.add(channel.topic)
    print("mcap:", len(topics), "topics")
    print("attachments:", *names)

    topics = set()
    with AnyReader([folder]) as reader:
        for connection, _, raw in reader.messages():
            check(connection.topic, reader.deserialize(raw, connection.msgtype))
            topics.add(connection.topic)
        assert reader.message_count == len(topics), reader.message_count
    print("rosbags:", len(topics), "topics")


if __name__ == "__main__":
    main()
