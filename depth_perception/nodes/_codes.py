"""The codes under which the nodes name what they find: stable, for people and for programs.

Each finding on ``/diagnostics`` has one: the value ``codes`` lists those that hold now, and a
value of each code's own name has the sentence. `CODES` is the only place that lists them;
``docs/diagnostics.md`` is written from it by ``scripts/write_diagnostics.py``.
"""

from __future__ import annotations

from typing import NamedTuple


class Code(NamedTuple):
    """What a code means: its cause, what to do, and the counter of frames that it belongs to."""

    cause: str
    cure: str
    counter: str = ''


CODES: dict[str, Code] = {
    # -- inputs ------------------------------------------------------------------------------
    'NO_PUBLISHER': Code(
        'Nobody publishes on the topic of an input.',
        'Start the camera, or remap the input to its topic.'),
    'WRONG_TYPE': Code(
        'The topic of an input carries messages of another type.',
        'Remap the input, or set image_transport to what is published (raw or compressed).'),
    'QOS_INCOMPATIBLE': Code(
        'A publisher offers less than the node asks for, so DDS does not connect them.',
        'Change the policy that the text names, in the publisher or by qos_overrides.'),
    'TRANSPORT_TOO_SMALL': Code(
        'The publisher runs with the default transport of Fast DDS: its shared memory holds '
        '512 KiB, and every best-effort image larger than that is lost.',
        'Start the publisher with FASTDDS_BUILTIN_TRANSPORTS=DEFAULT?sockets_size=8MB.'),
    'SILENT_PUBLISHER': Code(
        'The topic of an input has a publisher that fits, and nothing arrives.',
        'Look whether the camera delivers; if it runs on another host or as another user, start '
        'it with FASTDDS_BUILTIN_TRANSPORTS=DEFAULT?sockets_size=8MB.'),
    'FRAMES_LOST': Code(
        'More messages are lost on the way than come; DDS counts them.',
        'Give the publisher larger shared memory (see TRANSPORT_TOO_SMALL), make it reliable, or '
        'lower its rate; between hosts look at the network.'),
    'STAMPS_NEVER_MATCH': Code(
        'Messages arrive on both topics, and no two of them have stamps that belong together; '
        'the text tells the smallest gap.',
        'Synchronise the clocks, or raise sync_tolerance above the gap.'),
    'IMAGE_WITHOUT_FOCUS': Code(
        'Images come without a focus message of their stamp.',
        'Publish focus for each image, or raise sync_tolerance.', 'image without focus'),
    'FOCUS_WITHOUT_IMAGE': Code(
        'Focus messages come without an image of their stamp.',
        'Look for images that are lost, or raise sync_tolerance.', 'focus without image'),
    # -- camera_info -------------------------------------------------------------------------
    'NO_CAMERA_INFO': Code(
        'No camera_info came, and without one there are no metres.',
        'Publish it, remap camera_info, or set fallback_hfov_deg.', 'rejected.no camera_info'),
    'INFO_STAMPS_DIFFER': Code(
        'The stamps of camera_info are not those of the images; it is matched by frame_id.',
        'Publish camera_info with the stamp of its image.'),
    'INFO_OF_ANOTHER_CAMERA': Code(
        'The camera_info has another frame_id than the image: it is of another camera.',
        'Remap camera_info to that of the camera of the image.', 'rejected.camera_info frame'),
    'INFO_SIZE': Code(
        'The camera_info is for another resolution than that of the image.',
        'Publish the camera_info of this resolution.', 'rejected.camera_info size'),
    'INFO_VALUES': Code(
        'The camera_info has no positive focal length, or values that are no numbers.',
        'Calibrate the camera, or set fallback_hfov_deg.', 'rejected.camera_info values'),
    'INFO_DISTORTION': Code(
        'The distortion model of the camera_info is none that can be removed.',
        'Use plumb_bob, rational_polynomial or equidistant, or rectify the image before.',
        'rejected.camera_info distortion'),
    'METRES_GUESSED': Code(
        'There is no calibration: metres follow from fallback_hfov_deg, and are a guess.',
        'Calibrate the camera and publish camera_info.'),
    # -- messages ----------------------------------------------------------------------------
    'MESSAGE_MALFORMED': Code(
        'A message is not what its fields say: unknown encoding, data too short, damaged.',
        'Set the driver to an encoding that the text names.', 'rejected.message'),
    'IMAGE_UNUSABLE': Code(
        'The model does not take an image of this size.',
        'Send larger images, or choose another model.', 'rejected.image'),
    'SIZES_DIFFER': Code(
        'Image and depth of one moment differ in size.',
        'Use the depth that is registered to the image.', 'rejected.sizes'),
    'CLOUD_IMPOSSIBLE': Code(
        'No cloud can be made of a frame.', 'The text tells what to change.',
        'rejected.point cloud'),
    'STEREO_IMPOSSIBLE': Code(
        'No stereo view can be made of a frame.', 'The text tells what to change.',
        'rejected.stereo'),
    'FOCUS_MALFORMED': Code(
        'A focus message says nothing that could be a focus distance.',
        'Publish sensor_msgs/JointState with focus_distance in metres.', 'rejected.focus'),
    'STACK_UNUSABLE': Code(
        'The model does not take a focus stack, or was trained for another lens.',
        'The text tells what to change.', 'rejected.focus stack'),
    'FRAME_SIZE_CHANGED': Code(
        'The source gave a frame of another size than the first.',
        'Use pictures of one size, or a calibration of this size.', 'rejected.size'),
    # -- time --------------------------------------------------------------------------------
    'STAMPS_JUMP_BACK': Code(
        'Stamps went back: a bag starts anew, simulated time is set back, or two publishers '
        'share the topic. The node goes on from there.',
        'Nothing, for a bag; else stop one of the publishers.', 'stamp jumps back'),
    'STAMPS_MISSING': Code(
        'With process: every, frames are missing by their stamps.',
        'Play slower, or look for what loses them: the publisher or the network.',
        'missing by stamp'),
    'NO_CLOCK': Code(
        'use_sim_time is true and nothing came on /clock.',
        'Start the simulator, or play the bag with --clock.'),
    'CLOCK_STANDS': Code(
        'use_sim_time is true and simulated time stands still: the bag or the simulator is '
        'paused.',
        'Go on with the bag or the simulation.'),
    # -- load --------------------------------------------------------------------------------
    'TOO_SLOW': Code(
        'Frames come faster than they are processed; process: newest leaves the older ones out, '
        'as it should.',
        'Nothing, unless the rate is too low: a smaller model, another backend or smaller '
        'outputs.'),
    'QUEUE_OVERFLOW': Code(
        'With process: every, frames come faster than they are processed and the queue is full.',
        'Raise queue_size, or play slower.', 'overflow'),
    # -- model and engine --------------------------------------------------------------------
    'MODEL_NAN': Code(
        'The model gave NaN or infinity for some pixels; they are NaN in the depth.',
        'Check the model with this camera.', 'frames with NaN from the model'),
    'MODEL_LOADING': Code(
        'Another model is being loaded, or waits for a frame that somebody asks for; the old one '
        'serves meanwhile.', 'Wait; subscribe to an output.'),
    'MODEL_REFUSED': Code(
        'The model that was asked for cannot be used; the old one goes on.',
        'Set model to one that works, as the text says.'),
    'RELATIVE_WITHOUT_METRES': Code(
        'Somebody subscribed to metres of a model that gives relative depth.',
        'Call ~/calibrate_scale, use ~/relative_depth/image, or a metric model.'),
    'ENGINE_BUILDING': Code(
        'An engine is being built, with progress; ONNX Runtime serves meanwhile.', 'Wait.'),
    'ENGINE_REFUSED': Code(
        'No engine was accurate enough, or none could be built; ONNX Runtime serves.',
        'Read the verdict; `depth-perception engine verify` tells more.'),
    'ENGINE_WARNING': Code(
        'The engine works, and there is something to know about it, such as a cache that cannot '
        'be written.',
        'The text tells what to change.'),
    'ENGINE_FAILED': Code(
        'The engine failed in flight; ONNX Runtime on the CPU took over.',
        'Call ~/rebuild_engine, or try another backend.'),
    'GPU_LOST': Code(
        'The GPU failed in flight; ONNX Runtime on the CPU took over, slower.',
        'Look at dmesg and nvidia-smi, then start the node anew.'),
    'FRAME_FAILED': Code(
        'What runs the model failed for a frame; the next one is tried.',
        'Try another backend or a smaller input.', 'rejected.engine'),
    # -- scale -------------------------------------------------------------------------------
    'SCALE_FILE_UNUSABLE': Code(
        'The file with the scale of this camera and model is damaged, or of something else; '
        'depth is not corrected.',
        'Call ~/calibrate_scale, or delete the file.'),
    'SCALE_OF_ANOTHER_LENS': Code(
        'The scale was made with another field of view; depth is not corrected.',
        'Call ~/calibrate_scale.'),
    'SCALE_NOT_SAVED': Code(
        'The scale is in use, and lost when the node is deactivated or ends: its file cannot be '
        'written.',
        'Free some space, make the folder writable, or set scale.file; calibrate again.'),
    'SCALE_DRIFT': Code(
        'Depth disagrees with the range source by more than 10 %.',
        'Call ~/calibrate_scale, or set scale.continuous.'),
    'RANGE_UNUSABLE': Code(
        'Nothing is known of the range source for the images: no reading, stamps too far apart, '
        'too few points in the picture, or it is not known where it sits.',
        'The text tells what to change.'),
    'RANGE_MALFORMED': Code(
        'A message of the range source is not what its fields say.',
        'The text tells what to change.', 'range messages unusable'),
    'RELATIVE_FOR_WANT_OF_INFO': Code(
        'A relative model has a scale, and no camera_info fits, so there are no metres.',
        'Publish camera_info, or set fallback_hfov_deg.', 'relative for want of camera_info'),
    'CALIBRATING': Code('~/calibrate_scale is under way.', 'Wait.'),
    # -- focus -------------------------------------------------------------------------------
    'SWEEP_LOST': Code(
        'Which slice an image of a fixed sweep is cannot be told any more.',
        'Start the sweep of the camera anew and call ~/restart_sweep.', 'sweep lost'),
    'STACK_INCOMPLETE': Code(
        'No focus stack was complete for a while.',
        'Let the camera sweep over as many distances as the model takes, without moving.'),
    'STACK_RESTARTED': Code(
        'A focus stack was begun anew: camera moved, picture changed, or slices missing.',
        'Hold the camera still during a sweep.'),
    'FEW_DEFOCUS_CUES': Code(
        'The stacks hold too few defocus cues: depth is a guess.',
        'Widen the sweep, open the aperture, or set adaptive_sweep.'),
    'UNKNOWN_LENS': Code(
        'The model was trained for certain lenses, and nothing is known of this one.',
        'Set lens.focal_length or lens.pixel_pitch, and lens.f_number.'),
    'COMMAND_REFUSED': Code(
        'The camera cannot follow a sweep command.', 'The text tells what to change.'),
    # -- camera nodes ------------------------------------------------------------------------
    'SOURCE_ENDED': Code(
        'The source of a camera node came to its end, or failed.',
        'Set loop, or start the node anew.'),
    'FILES_UNREADABLE': Code(
        'Some files of the source cannot be read; the others are shown.',
        'Remove or replace the file that the text names.'),
    'SOURCE_SLOW': Code(
        'The source gives fewer frames a second than asked for.',
        'Lower rate_hz or the image size.'),
    'STREAMING': Code('Nothing is wrong: the frame rate of a camera node.', 'Nothing.'),
    'CAMERA_UNKNOWN': Code(
        'Nothing is known of the camera, so no camera_info is published.',
        'Set camera_info_file or hfov_deg.'),
    # -- life cycle and parameters -----------------------------------------------------------
    'CONFIGURE_FAILED': Code(
        'The node could not be configured.', 'Put right what the text names, and configure it.'),
    'UNCONFIGURED': Code(
        'The node is not configured.', '`ros2 lifecycle set NODE configure`, then activate.'),
    'ACTIVATE_FAILED': Code(
        'The node could not be activated.', 'Put right what the text names, and activate it.'),
    'INACTIVE': Code('The node is not active.', '`ros2 lifecycle set NODE activate`.'),
    'FINALIZED': Code('The node was shut down for good.', 'Start it anew.'),
    'DISABLED': Code(
        'The node was switched off.', 'Call the service ~/enable with data: true.'),
    'IDLE': Code('No output has a subscriber, so nothing is computed.', 'Subscribe.'),
    'PARAMETER_REFUSED': Code(
        'A parameter was set to what it cannot be; its old value holds.',
        'Set it to what the text allows.', 'parameters refused'),
    'OK': Code('Nothing is wrong.', 'Nothing.'),
    # -- what `depth-perception doctor` alone finds --------------------------------------------
    'NO_NODE': Code(
        'No node of this package tells its state on /diagnostics.',
        'Start one, or give the doctor the same ROS_DOMAIN_ID and ROS_LOCALHOST_ONLY.'),
    'TRANSPORT_IGNORED': Code(
        'ROS_AUTOMATIC_DISCOVERY_RANGE is set, with which ROS 2 makes its own transports and '
        'ignores FASTDDS_BUILTIN_TRANSPORTS.',
        'Unset ROS_AUTOMATIC_DISCOVERY_RANGE; ROS_LOCALHOST_ONLY=1 keeps to this host.'),
    'STALE_SEGMENTS': Code(
        'Processes that were killed left their shared memory behind.', 'Run `fastdds shm clean`.'),
    'SHARED_MEMORY_FULL': Code(
        'There is no room in /dev/shm for the segment of one more process.',
        'Run `fastdds shm clean`; in a container give it --ipc=host or a larger --shm-size.'),
}
# What is told without being a fault of anything.
HARMLESS = ('OK', 'IDLE', 'STREAMING', 'TOO_SLOW', 'ENGINE_BUILDING', 'MODEL_LOADING',
            'CALIBRATING', 'PARAMETER_REFUSED', 'STALE_SEGMENTS')
_OF_COUNTER = {code.counter: name for name, code in CODES.items() if code.counter}
_OF_COUNTER_KIND = {'restart': 'STACK_RESTARTED'}


def code_of(counter: str) -> str:
    """Return the code of a counter of odd frames; one not in the table has its own name's."""
    known = _OF_COUNTER.get(counter) or _OF_COUNTER_KIND.get(counter.partition('.')[0])
    return known or counter.upper().replace(' ', '_').replace('.', '_')
