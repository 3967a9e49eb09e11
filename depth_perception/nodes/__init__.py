"""ROS 2 nodes: parameters and messages in, one pure object called, messages out."""
