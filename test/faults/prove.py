"""Take the handlers of faults out of the node one by one, and show that a row fails then.

    python test/faults/prove.py [HANDLER ...]

Exit status 0 if each row printed FAILED.
"""

from __future__ import annotations

import os
import subprocess
import sys

#: handler of crippled_node.py -> the row that needs it
ROWS = {
    'message_errors': 'test_a_bad_picture and short',
    'engine_errors': 'test_a_picture_that_the_model and fails',
    'frame_check': 'test_a_camera_info_of_another_frame and another and not without and not 000',
    'size_check': 'test_a_camera_info_that_lies and another',
    'stamp_watch': 'test_stamps_that_jump and ago',
    'silence': 'test_a_camera_that_stalls',
    'transport': 'default_transport',
    'refusals': 'test_a_value_out_of_order',
    'old_model': 'test_a_model_that_only_the_engine_refuses',
    'parameter_check': 'test_a_model_that_is_none and there',
    'qos_check': 'test_a_publisher_with_a_quality',
    'clock_watch': 'test_a_bag_that_is_paused',
    'cache_errors': 'test_a_cache_that_cannot_be_written',
}


def main(handlers: list[str]) -> int:
    """Run the row of each handler without it, and print its line of the table."""
    missed = 0
    for handler in handlers or ROWS:
        done = subprocess.run(
            [sys.executable, '-m', 'pytest', 'test/faults', '-q', '-m', 'slow or not slow',
             '-k', ROWS[handler]],
            env={**os.environ, 'FAULTS_WITHOUT': handler}, capture_output=True, text=True,
            check=False)
        lines = [line for line in done.stdout.splitlines()
                 if line.endswith((' held', ' FAILED')) and ' of 1 ' not in line]
        missed += not lines or not lines[-1].endswith(' FAILED')
        print(f'without {handler:16} {lines[-1] if lines else done.stdout[-2000:]}', flush=True)
    print(f'{len(handlers or ROWS) - missed} of {len(handlers or ROWS)} rows failed, as they must')
    return int(missed > 0)


if __name__ == '__main__':
    raise SystemExit(main(sys.argv[1:]))
