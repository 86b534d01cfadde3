"""A network camera for tests: green pictures over RTSP, on loopback, at a free port.

Prints its address once it can be asked. Needs python3-gi and gir1.2-gst-rtsp-server-1.0.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

Gst.init(None)
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service("0")
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(
    "( videotestsrc is-live=true pattern=green ! video/x-raw,format=I420,width=160,height=120,framerate=15/1 "
    "! jpegenc ! rtpjpegpay name=pay0 pt=26 )"
)
# Over the connection itself: packets of their own (UDP) would need ports that nobody else uses.
factory.set_protocols(GstRtsp.RTSPLowerTrans.TCP)
server.get_mount_points().add_factory("/live", factory)
if server.attach(None) == 0:
    sys.exit("no port is free")
print(f"rtsp://127.0.0.1:{server.get_bound_port()}/live", flush=True)
GLib.MainLoop().run()
