"""Metric depth, point clouds and stereo views from a single camera, on ROS 2."""
