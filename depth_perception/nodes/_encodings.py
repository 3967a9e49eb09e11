"""The encodings of images under the name that nodes know them by."""

from depth_perception.image_encodings import ENCODINGS, MessageError, to_array

__all__ = ['ENCODINGS', 'MessageError', 'to_array']
