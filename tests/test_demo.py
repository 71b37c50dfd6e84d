# Generated from nbs/87_demo.ipynb; edit the notebook, not this file
import html, warnings
from functools import lru_cache
from typing import NamedTuple
import numpy as np
from stereo_kd.core import check_file, read_text
from stereo_kd.data.io import color_disparity, color_range, draw_scale
from stereo_kd.data.middlebury import read_calib
from stereo_kd.inference.calibration import read_calibration, Rectifier
from stereo_kd.inference.image import to_image
from stereo_kd.inference.points import point_cloud, render_page
from stereo_kd.inference.predict import predict
from stereo_kd.models.zoo import load_model, shipped
import re, shutil, tempfile
from concurrent.futures import ThreadPoolExecutor
from fastcore.test import *
from pathlib import Path
from torchvision.utils import save_image
from unittest.mock import patch
from stereo_kd.core import denormalize
from stereo_kd.data.io import read_pixels
from stereo_kd.data.synthetic import SyntheticPairs
import pytest
from stereo_kd.demo import *

def test_pairs_of_files_are_matched():
    with tempfile.TemporaryDirectory() as d:
        left,right,_,_ = SyntheticPairs(3, (96,256), 0)[1]
        l,r = f'{d}/l.png',f'{d}/r.png'
        for f,v in ((l,left),(r,right)): save_image(denormalize(v), f)
        shown = match_files(l, r)
        assert isinstance(shown, Shown)
        disp = predict('dtpnet_lite', l, r)
        test_eq(shown.disparity[:,:256], color_disparity(disp))
        assert shown.disparity.shape==shown.confidence.shape and (shown.disparity!=shown.confidence).any()
        assert '256x96 px, disparity' in shown.text and 'as if the focal length' in shown.text
        assert ' baselines &middot;' in shown.points and 'n = 2' in shown.points
        metres = match_files(l, r, focal=100., baseline=.2, best=True)
        assert ' m &middot;' in metres.points and 'as if' not in metres.text
        calib = f'{d}/calib.txt'
        Path(calib).write_text('cam0=[100 0 127; 0 100 47; 0 0 1]\ncam1=[100 0 127; 0 100 47; 0 0 1]\ndoffs=0\nbaseline=200\nwidth=256\nheight=96\nndisp=64')
        def near(shown): return re.search(r'points, ([\d.]+) to', shown.points)[1]
        test_eq(near(match_files(l, r, calibration=[calib])), near(match_files(l, r, focal=100., baseline=.2)))
        raw = match_files(l, r, calibration=[calib], raw=True)
        assert ' m &middot;' in raw.points
        swapped = match_files(r, l)
        assert 'swapped' in swapped.text and 'check=False' not in swapped.text, swapped.text
        (Path(d)/'bad.png').write_text('no picture')
        for args,words in (((None,r),'the left picture is missing'), ((l,f'{d}/bad.png'),'bad.png is not an image'),
                           ((l,r,'none'),'none'), ((l,r,'dtpnet_lite',None,True),'raw pictures need a calibration')):
            test_fail(lambda: match_files(*args), exc=(ValueError,OSError), contains=words)

@pytest.mark.slow
@pytest.mark.serial
def test_a_browser_uploads_and_sees():
    import pytest
    gradio = pytest.importorskip('gradio', reason='needs gradio')
    api = pytest.importorskip('playwright.sync_api', reason='needs playwright')
    browser = next(filter(None, map(shutil.which, ('chromium','chromium-browser','google-chrome'))), None)
    if not browser: pytest.skip('needs Chromium')
    def visit(address, d):
        with api.sync_playwright() as p:
            b = p.chromium.launch(executable_path=browser, args=['--no-sandbox','--host-resolver-rules=MAP * 127.0.0.1'])
            page = b.new_page(viewport=dict(width=1200, height=1700))
            page.goto(address)
            def give(side, file): page.locator(f'#{side} input[type=file]').set_input_files(f'{d}/{file}')
            give('left', 'l.png')
            give('right', 'r.png')
            for side in ('left','right'): page.locator(f'#{side} img').wait_for(timeout=20_000)
            page.click('#match button, button#match')
            page.locator('#disparity img').wait_for(timeout=60_000)
            frame = page.frame_locator('#points iframe')
            frame.locator('canvas').wait_for(timeout=20_000)
            assert page.locator('#text').inner_text().startswith('dtpnet_lite: 256x96 px, disparity ')
            colours = frame.locator('canvas').evaluate(
                "c => new Set(new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.buffer)).size")
            assert colours>100, colours # points are drawn
            page.screenshot(path=f'{d}/page.png')
            give('right', 'bad.png')
            page.click('#match button, button#match')
            page.get_by_text('bad.png is not an image').first.wait_for(timeout=20_000)
            page.screenshot(path=f'{d}/bad.png')
            b.close()
    with tempfile.TemporaryDirectory() as d:
        left,right,_,_ = SyntheticPairs(3, (96,256), 0)[1]
        for f,v in (('l',left),('r',right)): save_image(denormalize(v), f'{d}/{f}.png')
        Path(d, 'bad.png').write_text('no picture')
        assert build_page().title=='stereo_kd'
        test_eq(picture_field(label='left').preprocess(None), None)
        address,close = serve(port=0, browser=False, wait=False)
        try: ThreadPoolExecutor(1).submit(visit, address, d).result() # a notebook has a loop of its own, which it must not meet
        finally: close()
