"""Draws one picture off screen: a broken OpenGL set-up is found now and not in the middle of a run."""

import os
import sys

os.environ.setdefault("MUJOCO_GL", "egl")
os.environ.setdefault("LIBGL_ALWAYS_SOFTWARE", "1")

import mujoco

try:
    model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><geom size='1'/></worldbody></mujoco>")
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    with mujoco.Renderer(model, 32, 32) as renderer:
        renderer.update_scene(data)
        renderer.render()
except Exception as error:
    sys.exit(f"setup: drawing off screen with EGL does not work ({error}); see libegl1 and libgl1-mesa-dri")
