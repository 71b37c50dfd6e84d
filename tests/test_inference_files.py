# Generated from nbs/75_inference.files.ipynb; edit the notebook, not this file
import cv2, glob, math, os, sys, time, warnings
from contextlib import contextmanager, nullcontext
from fastprogress.fastprogress import progress_bar
from pathlib import Path
from typing import NamedTuple
import numpy as np, torch
from torch import nn
from stereo_kd.core import atomic_write, check_file, check_output, default_device
from stereo_kd.data.files import IncompleteWarning
from stereo_kd.data.folder import folder as pairs_in
from stereo_kd.data.io import color_disparity, color_range, draw_scale, write_bytes, write_disparity, write_picture
from stereo_kd.inference.calibration import read_calibration, Rectifier
from stereo_kd.inference.engines import run_by
from stereo_kd.inference.image import to_image
from stereo_kd.inference.points import to_depth, write_page, write_ply
from stereo_kd.inference.predict import predict
from stereo_kd.models.zoo import load_model
import matplotlib.pyplot as plt, tempfile
from contextlib import redirect_stderr, redirect_stdout
from fastcore.test import *
from io import StringIO
from PIL import Image
from types import SimpleNamespace
from unittest.mock import patch
from stereo_kd.core import denormalize
from stereo_kd.data.io import read_disparity, read_pixels
from stereo_kd.data.synthetic import SyntheticPairs
from stereo_kd.inference.points import point_cloud
from stereo_kd.inference.files import *

def test_pairs_of_every_kind():
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as d:
        d = Path(d)
        def image(path, size=(6,10)):
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (*size,3), dtype=np.uint8)).save(path)
            return path
        for k in 'abc':
            for side in ('left','right'): image(d/side/f'{k}.png')
        (d/'left/notes.txt').write_text('not an image')
        same = find_pairs(d/'left', d/'right')
        test_eq((same.names,[(l.name,r.name) for l,r in same.pairs],len(same.files)), (['a','b','c'],[(f'{k}.png',)*2 for k in 'abc'],6))
        some = match_views(sorted((d/'left').glob('*.png')), [d/'right/b.png',d/'right/c.png',d/'right/a.png'])
        test_eq([(k,l.name,r.name) for k,l,r in some], [(k,f'{k}.png',f'{k}.png') for k in 'abc'])
        test_eq(find_pairs(d/'left/[ab].png', d/'right/[ab].png').names, ['a','b'])
        one = find_pairs(str(d/'left/a.png'), d/'right/a.png')
        test_eq((one.names,one.folder), (['a'],False))
        assert isinstance(one, Source)
        test_eq(find_pairs(d).names, ['a','b','c']) # a usual layout
        (d/'right/b.png').unlink()
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter('always')
            test_eq(find_pairs(d/'left', d/'right').names, ['a','c'])
        assert '1 images have no other view: b' in str(told[0].message)
        for k in (3,1,2): # names that differ: in order
            image(d/'l'/f'left{k}.png')
            image(d/'r'/f'right{k}.png')
        s = find_pairs(d/'l', d/'r')
        want = [(f'left{k}',f'left{k}.png',f'right{k}.png') for k in (1,2,3)]
        test_eq([(k,l.name,r.name) for k,(l,r) in zip(s.names, s.pairs)], want)
        for scene in ('x','y'):
            for v in (0,1): image(d/'scenes'/scene/f'im{v}.png')
        test_eq(find_pairs(d/'scenes/*/im0.png', d/'scenes/*/im1.png').names, ['x/im0','y/im0'])
        both = image(d/'both.png')
        (left,right), = find_pairs(both).pairs
        test_close(np.concatenate([left,right], 1)*255, read_pixels(both), eps=1e-3)
        test_eq(find_pairs(d/'l/*.png').names, ['left1','left2','left3']) # each side by side
        (d/'l/left3.png').unlink()
        bad = [
            ((d/'l',d/'r'), '2 left and 3 right images, and no name'), ((d/'l',both), 'must be two images, two folders'),
            ((d/'none*.png',d/'r'), 'none*.png has no images (.png'), ((d/'none.png',), 'none.png does not exist'),
            ((d/'none.mp4',), 'none.mp4 does not exist')]
        for where,words in bad: test_fail(lambda: find_pairs(*where), exc=(ValueError,OSError), contains=words)
        odd = find_pairs(image(d/'odd.png', (6,9)))
        test_fail(lambda: list(odd.pairs), exc=ValueError, contains='odd.png is 9 px wide: two views side by side')
        (d/'broken.mp4').write_bytes(b'no video')
        test_fail(lambda: find_pairs(d/'broken.mp4'), exc=ValueError, contains='broken.mp4 is not a video that OpenCV can read')

def test_videos_come_back():
    rng = np.random.default_rng(0)
    frames = [cv2.resize(rng.integers(0, 256, (4,6,3), dtype=np.uint8), (96,64)) for _ in range(5)]
    with tempfile.TemporaryDirectory() as d:
        for suffix in ('.mp4','.avi'):
            path = Path(d)/f'a{suffix}'
            with write_video(path, 12.5) as add:
                for f in frames: add(f)
            video = Video(path)
            back = list(video)
            test_eq((len(back),video.count,video.fps,back[0].shape,back[0].dtype), (5,5,12.5,(64,96,3),np.uint8))
            for a,b in zip(frames, back): assert np.abs(a.astype(int)-b).mean()<12 # RGB, in order, but for the codec
            assert np.abs(frames[0].astype(int)-back[1]).mean()>25
            source = find_pairs(path) # side by side
            test_eq((source.names[:2],source.fps,source.folder), (['000000','000001'],12.5,True))
            test_eq([l.shape for l,_ in source.pairs], 5*[(64,48,3)])
            test_eq(len(list(find_pairs(path, path).pairs)), 5)
        with write_video(Path(d)/'odd.mp4', 10) as add: add(np.zeros((33,47,3), np.uint8))
        test_eq(next(iter(Video(f'{d}/odd.mp4'))).shape, (32,46,3))
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter('always')
            test_eq(find_pairs(path, Path(d)/'odd.mp4').names, ['000000'])
        assert 'have 5 and 1 frames: the first 1 are used' in str(told[0].message)
        def stop():
            with write_video(Path(d)/'b.mp4', 10) as add:
                add(frames[0])
                add(frames[1][:50])
        test_fail(stop, exc=ValueError, contains='b.mp4: a frame is 96x50 px, the first one is 96x64')
        assert not (Path(d)/'b.mp4').exists()

def test_files_of_every_kind():
    class Net(nn.Module):
        max_disp = 8
        def forward(self, left, right): return SimpleNamespace(disparity=[3+denormalize(left)[:,0]*50])
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as d, redirect_stdout(StringIO()) as said:
        l,r = (f'{d}/{v}.png' for v in 'lr')
        for f in (l,r): Image.fromarray(rng.integers(0, 256, (6,9,3), dtype=np.uint8)).save(f)
        def run(out, look=Look(), **kw): return predict_files(l, r, f'{d}/{out}', Net(), 'cpu', look, **kw)['disparity']
        want,camera = predict(Net(), l, r),dict(focal=100, baseline=.1)
        depth = to_depth(want, **camera)
        for out in ('a.pfm','a.npy'):
            test_eq(run(out), want)
            test_eq(read_disparity(f'{d}/{out}'), want)
            run(out, Look(depth=True, camera=camera))
            test_eq(read_disparity(f'{d}/{out}'), depth)
            run(out, Look(depth=True, camera=camera|dict(max_depth=.5)))
            test_eq(np.isfinite(read_disparity(f'{d}/{out}')), depth<=.5)
        run('a.png', Look(raw=True))
        test_close(read_disparity(f'{d}/a.png'), want, eps=1/256)
        run('a.png', Look(depth=True, camera=camera))
        test_eq(read_pixels(f'{d}/a.png'), to_millimetres(depth))
        run('a.png')
        test_eq(read_pixels(f'{d}/a.png'), color_disparity(want))
        run('a.png', Look(high=60, bar=True))
        test_eq(read_pixels(f'{d}/a.png'), draw_scale(color_disparity(want, 60), 0, 60))
        run('a.ply', Look(camera=camera|dict(max_depth=1)))
        assert f'element vertex {(depth<=1).sum()}\n'.encode() in Path(f'{d}/a.ply').read_bytes()
        run('a.ply', Look(camera=camera)) # coloured by the left picture
        assert Path(f'{d}/a.ply').read_bytes().endswith(read_pixels(l)[-1,-1].tobytes())
        write_result(f'{d}/b.npy', want, l)
        test_eq(read_disparity(f'{d}/b.npy'), want)
        write_map(f'{d}/m.png', np.float32([[0,.5,1]]))
        test_eq(read_pixels(f'{d}/m.png').tolist(), [[0,128,255]])
        write_map(f'{d}/m.npy', np.array([[True,False]]))
        test_eq(read_disparity(f'{d}/m.npy').tolist(), [[1.,0.]])
        run('points.html', Look(camera=camera))
        assert '<title>points</title>' in Path(f'{d}/points.html').read_text()
    assert f'9x6 px, disparity {want.min():.1f} to {want.max():.1f} px' in said.getvalue(), said.getvalue()
    test_eq(to_millimetres(np.float32([[1.2341,np.nan,65.535,65.536,0,np.inf,-1]])).tolist(), [[1234,0,65535,0,0,0,0]])

def test_folders_and_videos():
    class Net(nn.Module):
        max_disp = 8
        def forward(self, left, right): return SimpleNamespace(disparity=[3+denormalize(left)[:,0]*50])
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as d, redirect_stdout(StringIO()) as said, redirect_stderr(StringIO()):
        d = Path(d)
        for side in ('left','right'):
            (d/side).mkdir()
            for k in 'abc': Image.fromarray(rng.integers(0, 256, (32,48,3), dtype=np.uint8)).save(d/side/f'{k}.png')
        def run(l, r, out, **kw): return predict_files(l, r, out, Net(), 'cpu', **kw)
        maps = {k: predict(Net(), d/'left'/f'{k}.png', d/'right'/f'{k}.png', check=False) for k in 'abc'}
        run(d/'left', d/'right', d/'out/{}.pfm')
        for k in 'abc': test_eq(read_disparity(d/f'out/{k}.pfm'), maps[k])
        run(f'{d}/left/*', f'{d}/right/*', d/'colours', occlusion=d/'hidden/{}.npy')
        for k in 'abc': # each has its own range
            test_eq(read_pixels(d/f'colours/{k}.png'), color_disparity(maps[k]))
            want = predict(Net(), d/'left'/f'{k}.png', d/'right'/f'{k}.png', check=False, more='occluded')['occluded']
            test_eq(read_disparity(d/f'hidden/{k}.npy'), want.astype(np.float32))
        test_eq(run(d, None, d/'again/{}.npy')['disparity'], maps['c']) # the usual layout
        assert '3 pairs of 48x32 px' in said.getvalue() and ' a second, on cpu by torch' in said.getvalue(), said.getvalue()
        run(d/'left', d/'right', d/'a.mp4', look=Look(bar=True))
        a = Video(d/'a.mp4')
        test_eq((a.count,a.fps), (3,10.))
        high = 1.5*color_range(maps['a'])[1]
        for k,frame in zip('abc', a): # all have the first one's
            want = draw_scale(color_disparity(maps[k], high), 0, high)[:32]
            test_eq(frame.shape[:2], tuple(n//2*2 for n in want.shape[:2]))
            assert np.abs(frame.astype(int)-want[:,:frame.shape[1]]).mean()<30
        frames = [cv2.resize(rng.integers(0, 256, (4,6,3), dtype=np.uint8), (96,64)) for _ in range(4)]
        with write_video(d/'both.avi', 20) as add:
            for f in frames: add(f)
        seen = [predict(Net(), *halves(f), check=False) for f in Video(d/'both.avi')]
        run(d/'both.avi', None, d/'frames/{}.npy')
        for i,m in enumerate(seen): test_eq(read_disparity(d/f'frames/{i:06d}.npy'), m)
        run(d/'both.avi', None, d/'maps.mp4')
        test_eq((Video(d/'maps.mp4').count,Video(d/'maps.mp4').fps), (4,20.))
        run(d/'both.avi', None, d/'slow.mp4', fps=5)
        test_eq(Video(d/'slow.mp4').fps, 5.)
        source = find_pairs(d/'both.avi')
        def some(n): # a video of which the header says four frames
            return source._replace(pairs=iter([halves(f) for f in frames][:n]))
        def told(n, out):
            with patch.dict(predict_files.__globals__, find_pairs=lambda l,r: some(n)), redirect_stderr(StringIO()) as lines:
                run(d/'both.avi', None, out)
                return lines.getvalue()
        test_fail(lambda: told(0, d/'none.mp4'), exc=ValueError, contains='both.avi has no frame that can')
        assert not (d/'none.mp4').exists()
        assert 'both.avi: 3 of 4 frames could be read' in told(3, d/'three.mp4')
        test_eq(Video(d/'three.mp4').count, 3)

def test_requests_are_refused_before_the_network_runs():
    class Net(nn.Module):
        max_disp = 8
        def forward(self, left, right): raise RuntimeError('the network ran')
    camera = dict(focal=100, baseline=.1)
    with tempfile.TemporaryDirectory() as d:
        d = Path(d)
        for side in ('left','right'):
            (d/side).mkdir()
            for k in 'ab': Image.new('RGB', (9,6)).save(d/side/f'{k}.png')
        one,many = (d/'left/a.png',d/'right/a.png'),(d/'left',d/'right')
        bad = [
            (one, 'a.gif', {}, 'a.gif: the output must end in .png, .pfm, .npy, .ply, .html or the suffix of a video, or be'),
            (one, 'a.ply', {}, 'a point cloud needs --calib, --rectify, or --focal (px) and --baseline (m)'),
            (one, 'a.html', dict(look=Look(camera=dict(focal=9, baseline=None))), 'a point cloud needs'),
            (one, 'a.npy', dict(look=Look(depth=True)), 'depth needs --calib'),
            (one, 'a.ply', dict(look=Look(depth=True, camera=camera)), '--depth is for .png, .pfm, .npy'),
            (one, 'a.pfm', dict(look=Look(raw=True)), '--raw is for .png'),
            (one, 'a.pfm', dict(look=Look(bar=True)), '--bar is for pictures in colours'),
            (one, 'a.png', dict(look=Look(raw=True, bar=True)), '--bar is for pictures in colours'),
            (one, 'a.png', dict(look=Look(raw=True, depth=True, camera=camera)), 'choose one of them'),
            (many, 'a.pfm', {}, 'a.pfm is one file, and there are 2 pairs: name a folder, or '),
            (many, 'a_{}.mp4', {}, 'a video is one file, without {}'),
            (many, 'left', {}, 'a.png is the input'), (one, 'left/a.png', {}, 'a.png is the input'),
            (one, 'a.npy', dict(confidence=d/'a.npy'), 'a.npy would be written twice'),
            (one, 'a.npy', dict(occlusion=d/'b.ply'), 'b.ply: the output must end in .png, .pfm, .npy, or be a folder'),
            (one, 'a.npy', dict(device='gpu9'), "unknown device 'gpu9'"),
            (one, 'a.npy', dict(rectify=d/'none.yaml'), 'none.yaml does not exist'),
            ((d/'left',None), 'x', {}, 'has no pair of images')]
        for (l,r),out,kw,words in bad:
            test_fail(lambda: predict_files(l, r, d/out, Net(), **kw), exc=(ValueError,OSError), contains=words)
        test_eq(sorted(p.name for p in d.rglob('*') if p.is_file()), ['a.png','a.png','b.png','b.png'])
        test_fail(lambda: predict_files(*one, d/'a.npy', Net(), check=False), exc=RuntimeError, contains='the network ran')

def test_raw_pairs_are_rectified():
    class Net(nn.Module):
        max_disp = 8
        def forward(self, left, right):
            self.seen = [denormalize(v)[0].permute(1,2,0).numpy() for v in (left,right)]
            return SimpleNamespace(disparity=[left[:,0]*0+4])
    rng,net = np.random.default_rng(0),Net()
    kalibr = """cam0:
  camera_model: pinhole
  intrinsics: [60, 60, 31.5, 23.5]
  distortion_model: radtan
  distortion_coeffs: [-0.1, 0.01, 0, 0]
  resolution: [64, 48]
cam1:
  camera_model: pinhole
  intrinsics: [60, 60, 31.5, 23.5]
  distortion_model: radtan
  distortion_coeffs: [-0.1, 0.01, 0, 0]
  resolution: [64, 48]
  T_cn_cnm1: [[1,0,0,-0.2],[0,1,0,0],[0,0,1,0],[0,0,0,1]]
"""
    with tempfile.TemporaryDirectory() as d, redirect_stdout(StringIO()):
        for v in 'lr': Image.fromarray(cv2.resize(rng.integers(0, 256, (6,8,3), dtype=np.uint8), (64,48))).save(f'{d}/{v}.png')
        Path(d, 'cams.yaml').write_text(kalibr)
        views = [read_pixels(f'{d}/{v}.png') for v in 'lr']
        rect = Rectifier(read_calibration(f'{d}/cams.yaml'))
        def depth(**camera):
            look = Look(depth=True, camera=dict.fromkeys(('focal','baseline'))|camera)
            predict_files(f'{d}/l.png', f'{d}/r.png', f'{d}/z.npy', net, 'cpu', look, rectify=f'{d}/cams.yaml', check=False)
            return read_disparity(f'{d}/z.npy')
        test_close(depth(), np.full((48,64), rect.focal*rect.baseline/4), eps=1e-4)
        for seen,want,raw in zip(net.seen, rect(*views), views):
            assert np.abs(255*seen-want).max()<1.5 and np.abs(255*seen-raw).max()>10
        test_close(depth(baseline=1.), np.full((48,64), rect.focal/4), eps=1e-4) # what is given counts
        bare = cv2.FileStorage(f'{d}/cv.yml', cv2.FILE_STORAGE_WRITE) # what cv2.stereoCalibrate gives, without the size
        K,D = np.array([[60,0,31.5],[0,60,23.5],[0,0,1]]),np.array([[-.1,.01,0,0]])
        for k,m in dict(M1=K, D1=D, M2=K, D2=D, R=np.eye(3), T=np.array([[-.2],[0],[0]])).items(): bare.write(k, m)
        bare.release()
        look = Look(depth=True, camera=dict.fromkeys(('focal','baseline')))
        predict_files(f'{d}/l.png', f'{d}/r.png', f'{d}/w.npy', net, 'cpu', look, rectify=f'{d}/cv.yml', check=False)
        test_close(read_disparity(f'{d}/w.npy'), np.full((48,64), rect.focal*rect.baseline/4), eps=1e-4)
