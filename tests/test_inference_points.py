# Generated from nbs/74_inference.points.ipynb; edit the notebook, not this file
import base64, json, math, re, warnings
import numpy as np
from stereo_kd.data.io import write_bytes
from stereo_kd.inference.image import to_image
import tempfile
import matplotlib.pyplot as plt
from fastcore.test import *
from pathlib import Path
from stereo_kd.inference.points import *

def test_ply_by_hand():
    disp = np.float32([[4,np.nan,8],[0,np.inf,2]])
    img = np.arange(18, dtype=np.uint8).reshape(2,3,3)
    def read(**kw):
        with tempfile.TemporaryDirectory() as d:
            # colours are rounded, not cut
            write_ply(f'{d}/a.ply', disp, (img-.4).clip(0)/255, focal=100, baseline=.2, **kw)
            head,body = Path(f'{d}/a.ply').read_bytes().split(b'end_header\n', 1)
        lines = head.decode().split('\n')
        test_eq(lines[:2], ['ply','format binary_little_endian 1.0'])
        kinds = [
            (l.split()[2], {'float':'<f4','uchar':'u1'}[l.split()[1]]) for l in lines
            if l.startswith('property')]
        points = np.frombuffer(body, kinds)
        test_eq(f'element vertex {len(points)}', lines[2])
        return points
    p = read()
    test_eq(len(p), 3)
    test_close(p['z'], [5,2.5,10], eps=1e-5)
    test_close(p['x'], [-1*5/100,1*2.5/100,1*10/100], eps=1e-6)
    test_close(p['y'], [-.5*5/100,-.5*2.5/100,.5*10/100], eps=1e-6)
    test_eq([p[c].tolist() for c in ('red','green','blue')], [[0,6,15],[1,7,16],[2,8,17]])
    test_close(read(cx=0, cy=1)['x'], [0,2*2.5/100,2*10/100], eps=1e-6)
    test_close(read(cx=0, cy=1)['y'], [-.05,-.025,0], eps=1e-6)
    test_close(read(doffs=1)['z'], [4,20/9,20,20/3], eps=1e-5) # 0 px is no longer infinitely far
    test_close(read(max_depth=6)['z'], [5,2.5], eps=1e-5)

def test_ply_refuses():
    d,img = np.ones((4,5)),np.zeros((4,5,3), np.uint8)
    test_fail(
        lambda: write_ply('a.ply', d, img[:,1:], 100, .1), exc=ValueError,
        contains='disparity (4, 5) and image (4, 4) differ')
    test_fail(lambda: write_ply('a.ply', d, img, 0, .1), exc=ValueError, contains='focal must be positive, got 0')
    test_fail(lambda: to_depth(d, 100, -1), exc=ValueError, contains='baseline must be positive, got -1')
    test_warns(lambda: to_depth(d, 100, 193.))
    test_eq(
        np.isnan(to_depth(np.float32([[2,0,-1,np.nan,np.inf]]), 100, .1)).tolist(),
        [[False,True,True,True,True]])

def test_page_holds_the_points():
    disp = np.float32([[4,np.nan,8],[0,np.inf,2]])
    img = np.arange(18, dtype=np.uint8).reshape(2,3,3)
    with tempfile.TemporaryDirectory() as d:
        write_page(f'{d}/a.html', disp, img, 100, .2, title='a <b>')
        page = Path(f'{d}/a.html').read_text()
    data = base64.b64decode(re.search(r'atob\("([^"]+)"\)', page)[1])
    cloud = point_cloud(disp, img, 100, .2)
    test_eq(np.frombuffer(data[:36], '<f4').reshape(3,3), np.stack([cloud[k] for k in 'xyz'], 1))
    test_eq(np.frombuffer(data[36:], 'u1').reshape(3,3), np.stack([cloud[k] for k in ('red','green','blue')], 1))
    assert '<title>a &#60;b&#62;</title>' in page and 'n = 3\n' in page and '2.55 to 9.9 m' in page # 1st and 99th percentile
    assert not re.search(r'https?://|src=', page) # nothing from elsewhere
    view = json.loads(re.search(r'view = (\{.*?\})', page)[1])
    test_eq(view['pivot'], 5.)
    test_eq(len(base64.b64decode(re.search(r'atob\("([^"]+)"\)', render_page(np.repeat(cloud, 9), most=10))[1])), 150)
    test_fail(lambda: render_page(cloud[:0]), exc=ValueError, contains='no pixel has a depth below max_depth')
