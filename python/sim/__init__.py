"""The simulated robot of the demo: a Franka Panda, a cube and a camera in MuJoCo, as a ROS 2 participant."""
