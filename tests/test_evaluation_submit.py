# Generated from nbs/82_evaluation.submit.ipynb; edit the notebook, not this file
import re, zipfile
import numpy as np
from stereo_kd.core import atomic_write, pick
from stereo_kd.data.io import encode_kitti, encode_pfm
import tempfile
from pathlib import Path
from fastcore.test import *
from stereo_kd.data.io import read_disparity
from stereo_kd.evaluation.submit import *

def test_zips_hold_what_the_servers_want():
    rng = np.random.default_rng(0)
    cases = dict(
        kitti2015=([f'{i:06d}_10' for i in range(200)], 'disp_0/{}.png'),
        kitti2012=([f'{i:06d}_10' for i in range(195)], '{}.png'),
        middlebury=([f'{p}H/S{i}' for p in ('training','test') for i in range(15)], '{}/disp0mine.pfm'),
        eth3d=([f's{i}' for i in range(20)], 'low_res_two_view/{}.pfm'))
    for benchmark,(names,pattern) in cases.items():
        maps = {n:rng.uniform(0, 200, (4,6)).astype(np.float32) for n in names}
        with tempfile.TemporaryDirectory() as d:
            write_submission(
                f'{d}/x.zip', benchmark, maps, dict.fromkeys(names, 1.5), dict.fromkeys(names, (4,6)), 'mine')
            with zipfile.ZipFile(f'{d}/x.zip') as z:
                z.extractall(d)
                inside = z.namelist()
            kitti = benchmark.startswith('kitti')
            test_eq(len(inside), len(names)*(1 if kitti else 2))
            assert {pattern.format(n) for n in names}<=set(inside)
            for n in names[::7]:
                got = read_disparity(f'{d}/{pattern.format(n)}')
                test_close(got, maps[n], eps=1/256 if kitti else 1e-9)
            if benchmark=='middlebury': test_eq((Path(d)/'testH/S3/timemine.txt').read_text(), '1.5000')
            if benchmark=='eth3d': test_eq((Path(d)/'low_res_two_view/s3.txt').read_text(), 'runtime 1.5000')

def test_submission_bytes_are_those_of_data_io():
    from stereo_kd.data.io import write_disparity
    names = [f'{i:06d}_10' for i in range(200)]
    one = np.random.default_rng(0).uniform(0, 255.9, (4,6)).astype(np.float32)
    one[0,:3] = 0,.001,255.99
    cases = dict(
        kitti2015=(dict.fromkeys(names, one), 'disp_0/000007_10.png'),
        kitti2012=(dict.fromkeys(names[:195], one), '000007_10.png'),
        middlebury=({f'testH/S{i}':one for i in range(15)}, 'testH/S3/disp0stereo_kd.pfm'),
        eth3d=({f's{i}':one for i in range(20)}, 'low_res_two_view/s3.pfm'))
    with tempfile.TemporaryDirectory() as d:
        for benchmark,(maps,inside) in cases.items():
            write_submission(f'{d}/x.zip', benchmark, maps, dict.fromkeys(maps, 1.))
            file = Path(d)/f'want{Path(inside).suffix}'
            write_disparity(file, one)
            test_eq(zipfile.ZipFile(f'{d}/x.zip').read(inside), file.read_bytes())

def test_nothing_wrong_is_written():
    names = [f'{i:06d}_10' for i in range(200)]
    good = dict.fromkeys(names, np.ones((4,6), np.float32))
    eth = {f's{i}':good[names[0]] for i in range(20)}
    hole,big = good[names[0]].copy(),good[names[0]]*256
    hole[0,0] = np.nan
    wrong = [
        ('kitti2015', {k:good[k] for k in names[5:]}, {},
         '5 of 200 frames are missing: 000000_10, 000001_10, 000002_10 ...'),
        ('kitti2015', good|{'000200_10':hole}, {}, '1 frames are not part of the test set: 000200_10'),
        ('kitti2012', good, {}, 'not part of the test set: 000195_10'),
        ('kitti2015', good|{names[7]:hole}, {}, '000007_10: 1 pixels are not finite'),
        ('kitti2015', good|{names[7]:big}, {}, '256 px, allowed are 0 to 255.99'),
        ('kitti2015', good|{names[7]:-hole*0-1}, {}, 'not finite'),
        ('kitti2015', good|{names[7]:-good[names[7]]}, {}, 'from -1 to -1 px, allowed are 0 to'),
        ('kitti2015', good, dict(sizes={names[3]:(4,7)}), '000003_10: the map is (4, 6), the image (4, 7)'),
        ('eth3d', eth, {}, 's0: the runtime in seconds must be positive, got None'),
        ('eth3d', {k:eth[k] for k in list(eth)[:19]}, {}, '19 frames, the server wants 20'),
        ('middlebury', {f'testH/S{i}':hole for i in range(14)}, {}, 'testH has 14 scenes, the server wants 15'),
        ('middlebury', {'S1':hole}, {}, 'named like testH/SCENE'),
        ('middlebury', {f'test{r}/S1':hole for r in 'QH'}, {}, 'in one resolution'),
        ('kitti', good, {}, "unknown benchmark 'kitti'"),
        *(('eth3d', {name:hole}|{f's{i}':hole for i in range(19)}, {}, f"with / between, got {name!r:.60}")
          for name in ('../../home/x', '/etc/x', 'a/../b', '..', '.hidden', 'a//b', 'a\\b', 'a\0', 'a/', 'a\n', '')),
        ('middlebury', {'testH/..':hole}|{f'testH/S{i}':hole for i in range(14)}, {}, "got 'testH/..'"),
        ('kitti2015', good, dict(method='a b'), "letters, digits, _ or -, got 'a b'")]
    with tempfile.TemporaryDirectory() as d:
        f = Path(d)/'x.zip'
        f.write_text('old')
        for *args,kw,say in wrong:
            test_fail(lambda: write_submission(f, *args, **kw), exc=ValueError, contains=say)
            test_eq(f.read_text(), 'old')
        test_eq([p.name for p in Path(d).iterdir()], ['x.zip'])
