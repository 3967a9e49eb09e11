"""Offline training; runs from the checkout and is never installed on a robot."""
