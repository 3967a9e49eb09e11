"""A headless Chromium that opens a page and takes pictures of it, through its debugging port."""

from __future__ import annotations

import base64
import itertools
import json
from pathlib import Path
import shutil
import subprocess
import time
import urllib.request

import cv2
import numpy as np
from websockets.sync.client import connect

NAMES = ('chromium', 'chromium-browser', 'google-chrome')
START_S = 30.0


def chromium() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One page, drawn by the processor."""

    def __init__(self, url: str, profile: Path) -> None:
        self._log = (profile / 'log').open('w')
        self._process = subprocess.Popen(
            [chromium(), '--headless=new', '--no-sandbox', '--disable-dev-shm-usage',
             '--use-angle=swiftshader', '--enable-unsafe-swiftshader', '--ignore-gpu-blocklist',
             '--window-size=1280,900', '--remote-debugging-port=0',
             f'--user-data-dir={profile}', url], stdout=self._log, stderr=self._log)
        port_file = profile / 'DevToolsActivePort'
        end = time.monotonic() + START_S
        while not port_file.exists() or '\n' not in port_file.read_text():
            assert time.monotonic() < end, 'Chromium did not start'
            time.sleep(0.1)
        port = port_file.read_text().splitlines()[0]
        with urllib.request.urlopen(f'http://127.0.0.1:{port}/json') as answer:
            pages = [page for page in json.load(answer) if page['type'] == 'page']
        self._socket = connect(pages[0]['webSocketDebuggerUrl'], max_size=None)
        self._numbers = itertools.count(1)

    def evaluate(self, script: str) -> object:
        answer = self._call('Runtime.evaluate', expression=script, returnByValue=True)
        return answer['result'].get('value')

    def screenshot(self) -> np.ndarray:
        """(H, W, 3) uint8 BGR."""
        data = base64.b64decode(self._call('Page.captureScreenshot', format='png')['data'])
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)

    def close(self) -> None:
        self._socket.close()
        self._process.terminate()
        self._process.wait(15)
        self._log.close()

    def _call(self, method: str, **parameters: object) -> dict:
        number = next(self._numbers)
        self._socket.send(json.dumps({'id': number, 'method': method, 'params': parameters}))
        while True:
            answer = json.loads(self._socket.recv(timeout=30))
            if answer.get('id') == number:
                assert 'error' not in answer, answer
                return answer['result']
