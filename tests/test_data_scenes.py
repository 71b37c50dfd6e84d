# Generated from nbs/10_data.scenes.ipynb; edit the notebook, not this file
import hashlib, numpy as np, torch, warnings, zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from fastcore.basics import patch
from fastprogress.fastprogress import progress_bar
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from PIL import Image
from typing import NamedTuple
from stereo_kd.core import atomic_write, check_file, claim, normalize, pick, read_json
from stereo_kd.data.synthetic import atlas, octaves, pair_seed, photograph
from stereo_kd.data.synthetic import _Draw, _one_thread, _shared, _uniform
from stereo_kd.kernels.raycast import RECTANGLE, LEAVES, BARS, BOX, CYLINDER, ELLIPSOID
from stereo_kd.kernels.raycast import KIND, CENTRE, AXES, HALF, FAR
from stereo_kd.kernels.raycast import MATERIAL, CONTRAST, SHEEN, REFLECT, TRANSMIT
from stereo_kd.kernels.raycast import shape_rows, bundle, make_grid, trace, trace_list, reached
from stereo_kd.kernels.raycast import project_points, rays
from stereo_kd.kernels.raycast import mip_map, surfaces, ambient, add_light, add_sky, leaving, mirrored
import matplotlib.pyplot as plt
import cv2, json, os, tempfile, time
from fastcore.test import *
from IPython.display import Image as Picture
from stereo_kd.data.synthetic import SyntheticPairs
from stereo_kd.data.scenes import *

def test_made_textures_do_what_they_say():
    u = torch.rand(100_000, generator=torch.Generator().manual_seed(0))
    noiseless = lambda f,k: f(u, 256)-k*octaves(u[5000:], 256, .7 if f is tiles else .6)
    wall = bricks(u, 256)
    joints = wall.mean((0,2)) # of rows of pixels
    joints = joints.view(16,16) # of courses
    assert joints[:,0].mean()>joints[:,4:].mean()+.3 # mortar is lighter
    assert (wall[0]-wall[2]).mean()>.1 # and bricks are warm
    grain = planks(u, 256)
    along,across = (grain.diff(dim=k).abs().mean() for k in (1,2))
    assert along<.3*across
    t = noiseless(tiles, .3)
    test_close(t[:,::32], torch.full((3,8,256), -.5), eps=1e-5)
    assert t[:,4:31,4:31].std()<1e-5 and abs(t[0,5,5]-t[0,5,40])>.01 # one shade each
    cloth = noiseless(woven, .25)
    assert (cloth[0,4::16]-cloth[0,12::16]).abs().mean()>.02 # over, then under
    page = printed(u, 256)
    blank = (page==.5).all(0)
    assert .25<blank.float().mean()<.8 and blank[:,:10].all()
    tex,start,n = scene_textures()
    test_eq([n, len({i for v in TEXTURES.values() for i in v}), int(start[1])], [256, 72, 72*256*256])

def test_dice_are_fair_and_apart():
    r = Dice(5)
    draws = np.array([r(2, 4) for _ in range(4000)])
    assert 2<=draws.min() and draws.max()<4 and abs(draws.mean()-3)<.05
    assert abs(np.mean([r(0, 1, 2) for _ in range(4000)])-1/3)<.02
    test_eq({r.whole(1, 3) for _ in range(99)}, {1,2,3})
    test_eq({r.pick('ab') for _ in range(99)}, {'a','b'})
    assert .25<np.mean([r.chance(.3) for _ in range(2000)])<.35
    turns = np.array([r.turn() for _ in range(500)])
    test_close((turns**2).sum(1), np.ones(500), eps=1e-12)
    assert turns[:,0].min()>=0 and turns[:,1].min()<-.9 and turns[:,1].max()>.9 # any angle to either side
    a,b = Dice(7),Dice(7)
    first = a.fork()
    [first() for _ in range(300)] # whatever happens inside
    test_eq([a(),a.fork()(),a.array(2,3).tolist()], [b(),[b.fork(),b.fork()][1](),b.array(2,3).tolist()])
    assert max(abs(v) for v in a.vector(1, 2))<=2

def test_materials_stay_in_their_ranges():
    kind_of = {i:k for k,v in TEXTURES.items() for i in v}
    for name,m in MATERIALS.items():
        rows = np.array([material(Dice(i), name, 2.) for i in range(40)])
        test_eq(rows.shape[1], 16)
        assert m['scale'][0]<=rows[:,1].min()/2 and rows[:,1].max()/2<=m['scale'][1], name
        assert {kind_of[int(i)] for i in rows[:,0]}<=set(m['texture'].split())
        assert 0<=rows[:,7:10].min() and rows[:,7:10].max()<=1 and (rows[:,CONTRAST]>=m['contrast'][0]).all()
    walls = np.array([material(Dice(i), 'plaster')[7:10] for i in range(400)])
    cars = np.array([material(Dice(i), 'paint')[7:10] for i in range(400)])
    assert np.ptp(walls, axis=1).mean()<.07<.12<np.ptp(cars, axis=1).mean() # walls are nearly grey, cars are not
    assert (walls[:,0]>walls[:,2]).mean()>.6 # and rather warm
    test_fail(lambda: material(Dice(0), 'gold'), contains="unknown material 'gold'")

def test_things_are_turned_as_told():
    b = Stage()
    with b.moved(1, 2, 3, SIDES['right']):
        with b.moved(0, 0, 5): b.box(.5, 0, 0, .2, 1, .4, 0)
        test_close(b.place(0, 0, 1), (2,2,3)) # away from the viewer is to the right
    test_eq(b.frame, (0,0,0,1,0,1))
    rows = b.shapes()
    test_close(rows[0,CENTRE:AXES], (6,2.5,2.5)) # 5 to the right; its own right is towards the viewer
    test_close(rows[0,AXES:AXES+9].reshape(3,3)*rows[0,HALF:HALF+3,None], [[0,0,-1],[0,1,0],[1,0,0]], eps=1e-12)
    b = Stage()
    c,s = .8,.6
    b.put(BOX, (0,0,0), (1,1,1), 0, turn=(c,s), tilt=(s,c), roll=(c,-s))
    Ry,Rx = np.array([[c,0,s],[0,1,0],[-s,0,c]]),np.array([[1,0,0],[0,s,-c],[0,c,s]])
    Rz = np.array([[c,s,0],[-s,c,0],[0,0,1]])
    test_close(b.shapes()[0,AXES:AXES+9].reshape(3,3).T, Ry@Rx@Rz, eps=1e-12)
    plain,other = Stage(),Stage()
    how = dict(turn=(c,s), tilt=(s,c), roll=(c,-s))
    with plain.moved(1, 0, 2, (s,c)):
        with plain.moved(3, 0, 1, (c,s)): plain.put(BOX, (.5,0,.2), (1,2,3), 0, **how)
    with other.moved(1, 0, 2, (s,-c), mirror=True): # the same, seen in a mirror across x=1
        with other.moved(3, 0, 1, (c,s)): other.put(BOX, (.5,0,.2), (1,2,3), 0, **how)
    p,q = plain.shapes()[0],other.shapes()[0]
    def axes(row): return row[AXES:AXES+9].reshape(3,3)
    def reflected(v): return np.array([2-v[0],v[1],v[2]])
    for corner in np.ndindex(2, 2, 2):
        world = p[CENTRE:AXES]+(2*np.array(corner)-1)*p[HALF:HALF+3]**2@axes(p)
        test_close(abs(axes(q)@(reflected(world)-q[CENTRE:AXES])), np.ones(3), eps=1e-9) # a corner of the other
    b = Stage(('thin','leaves'))
    b.sheet(0, 0, 0, 1, 1, 0, LEAVES)
    b.sheet(0, 0, 0, 1, 1, 0, BARS)
    b.bar(0, 0, 0, .01, 2, 0)
    b.ground(0, 0, 0, 5, 5, 0)
    b.ball(0, 0, 0, 1, 1, 1, 0)
    test_eq(b.shapes()[:,KIND].tolist(), [RECTANGLE,ELLIPSOID])
    test_fail(lambda: b.put(BOX, (0,0,0), (1,1,1), 0, tapper=.3), exc=TypeError, contains='no tapper')

def test_crowds_are_well_formed():
    b,r = Stage(),Dice(3)
    m = b.material(r, 'leaf')
    with b.moved(5, 0, 0, SIDES['left']):
        foliage(b, r, (0,2,0), (1,.5,1), 200, .1, m)
        fan(b, r, (0,0,0), 30, .5, .02, m)
        wire(b, (-3,4,0), (3,4,0), .5, .01, m)
    rows = b.shapes()
    axes = rows[:,AXES:AXES+9].reshape(-1,3,3)*rows[:,HALF:HALF+3,None]
    test_close(axes@axes.transpose(0,2,1), np.tile(np.eye(3), (len(rows),1,1)), eps=1e-9) # unit, perpendicular
    cloud,leaves,pieces = rows[:200],rows[200:230],rows[230:]
    inside = (((cloud[:,CENTRE:AXES]-(5,2,0))/(1,.5,1))**2).sum(1)
    assert inside.max()<=1+1e-9 and np.sqrt(inside).mean()>.7
    foot = leaves[:,CENTRE:AXES]-leaves[:,HALF:HALF+1]*axes[200:230,0]
    test_close(foot, np.tile([5,0,0], (30,1)), eps=1e-9)
    assert (axes[200:230,0,1]>0).all() # they rise
    ends = pieces[:,CENTRE:AXES]+pieces[:,HALF+1:HALF+2]*axes[230:,1]/1.01
    test_close(ends[[3,7],1], [3.5,4], eps=1e-9)
    test_close(abs(ends[7,2]), 3, eps=1e-9) # x of the frame is z of the world
    test_eq(len(set(rows[:,21])), len(rows)) # a key each

def test_cameras_look_at_the_target():
    from stereo_kd.data.scenes import _see
    X,Y,F = look_at((1,2,3), (4,1,9), (.96,.28))
    axes = np.stack([X,Y,F])
    test_close(axes@axes.T, np.eye(3), eps=1e-12)
    assert Y[1]<0 # down
    test_close(np.cross(X, Y), -F, eps=1e-12)
    scene = build_scene(0, 3)
    cams,grid = set_cameras(scene, (48,64))
    assert isinstance(cams, Cameras)
    (u,),(v,),(t,) = project_points(cams.left, np.array([scene.plan.target], float))
    test_close((u,v), (0,0), eps=1e-9) # the principal point
    x,y = cams.cx+cams.f*u,cams.cy+cams.f*v
    assert 26<x<38 and 13<y<34 # which is near the middle of the image
    (u_right,),_,_ = project_points(cams.right, np.array([scene.plan.target], float))
    test_close(cams.f*(u-u_right), cams.disparity(t), eps=1e-9) # the target's disparity
    share = (cams.disparity(_see(scene.shapes, grid, *cams.plane()).t)>cams.f*cams.base/(1.6*cams.left[13])).mean()
    assert .005<share<.05, share # 2 % are nearer than 1.6 times the nearest depth

def test_a_plain_wall_shows_its_albedo():
    from stereo_kd.data.scenes import _see
    b = Stage()
    b.sheet(0, 0, 3, 9, 9, 0)
    grey = [0, 100, 0, 100, 0, 0, 0, .2,.5,.7, 0,4,0,0,0,0]
    light = Light((1,1,1), (1,1,1), [.3]*9+[0,1,1,0,1,0,0.])
    scene = Set('', b.shapes(), np.array([grey], float), Plan((0,0,0), (0,0,3), UPRIGHT, (.1,.1), 9., light), Dice(0))
    cams,grid = set_cameras(scene, (16,24))
    def seen(scene, shadows=True):
        s = Sight(*_see(scene.shapes, grid, *cams.plane()))
        o,d = rays(grid.bundle, s.u, s.v)
        w = light_up(scene, o+s.t[:,None]*d, shadows)
        assert isinstance(w, World)
        return radiance(w, grid, s.u, s.v, o, d, s.who, s.t, s.t/cams.f)
    test_close(seen(scene), np.tile([.04,.25,.49], (16*24,1)), eps=1e-6) # c squared
    lit = light._replace(above=(0,0,0), below=(0,0,0), sun=((0,-.6,.8),(2,2,2)), haze=3.)
    half = seen(scene._replace(plan=scene.plan._replace(light=lit)))
    want = .5*(np.array([.04,.25,.49])*2*.8)+.5*.3 # the sun at an angle, half of it hidden by haze at 3 m
    test_close(half, np.tile(want, (16*24,1)), eps=1e-6)

def test_both_views_agree():
    import stereo_kd.data.scenes as S
    size = (64,128)
    x = np.tile(np.arange(128.), 64)
    share = []
    for i in range(10):
        scene = build_scene(0, i)
        cams,grid = set_cameras(scene, size)
        right = cams.grid(scene.shapes, cams.right)
        left = S._see(scene.shapes, grid, *cams.plane())
        seen = S._both_see(scene, cams, (left,S._see(scene.shapes, right, *cams.plane())))[0].ravel()
        disp = cams.disparity(left.t)
        there = S._see(scene.shapes, right, (x-disp-cams.cx)/cams.f, left.v)
        back,inside = cams.disparity(there.t),x-disp>=0
        test_close(back[seen], disp[seen], eps=.02)
        assert (back[inside & ~seen]>disp[inside & ~seen]).all() and not seen[~inside].any()
        assert disp.min()>=.1-1e-9 and cams.base<=scene.plan.apart
        share.append(seen.mean())
    assert .6<np.mean(share)<.95, np.mean(share)

def test_occlusion_equals_left_right_check():
    size = (96,192)
    x = np.arange(192)
    differ,alone = [],[]
    for i in range(12):
        v = render_scene(build_scene(1, i), size)
        for disp,other,mask,side in ((v.disp,v.right_disp,v.visible,-1),(v.right_disp,v.disp,v.right_visible,1)):
            to = np.rint(x+side*disp).astype(int)
            inside = (to>=0) & (to<192)
            back = np.take_along_axis(other, to.clip(0, 191), 1)
            check = inside & (abs(back-disp)<1)
            jump = cv2.dilate(other, np.ones((3,3)))-cv2.erode(other, np.ones((3,3)))>1
            near = np.take_along_axis(jump, to.clip(0, 191), 1) | (to<=0) | (to>=191)
            wrong = check!=mask
            differ.append(wrong.mean())
            alone.append((wrong & ~near).mean())
    assert np.mean(differ)<.05 and np.mean(alone)<.002, (np.mean(differ), np.mean(alone))

def test_warping_gives_the_left_image_back():
    x = np.arange(192.)
    errors,unmoved,hidden = [],[],[]
    pairs = ScenePairs(12, (96,192), without=SCENE_DISAGREEMENTS)
    for i in range(12):
        v = pairs.views(i, occlusion=True)
        xr = (x-v.disp).clip(0, 190.999)
        k = xr.astype(int)
        f = (xr-k)[...,None]
        at = lambda k: np.take_along_axis(v.right.astype(float), k[...,None], 1)
        err = abs(at(k)*(1-f)+at(k+1)*f-v.left).mean(-1)
        errors.append(err[v.visible])
        hidden.append(err[~v.visible & (x-v.disp>=0)])
        unmoved.append(abs(v.right.astype(float)-v.left).mean(-1)[v.visible])
    errors,hidden,unmoved = (np.concatenate(e) for e in (errors,hidden,unmoved))
    assert np.median(errors)<1.5 and errors.mean()<5, (np.median(errors), errors.mean())
    assert hidden.mean()>4*errors.mean() and unmoved.mean()>5*errors.mean()
    of_cameras = [k for k in SCENE_DISAGREEMENTS if k not in ('gloss','mirrors','glass')]
    glossy = ScenePairs(12, (96,192), without=of_cameras)
    assert any(abs(glossy.views(i).left.astype(int)-pairs.views(i).left).max()>60 for i in range(3))

def test_ball_and_wall_are_where_they_should_be():
    b,r = Stage(),Dice(0)
    m = b.material(r, 'stone')
    b.ball(.2, .1, 4., .8, .8, .8, m)
    b.sheet(0, -1, 7, 30, 4, m, turn=(.8,.6))
    light = Light((1,)*3, (1,)*3, [1.]*9+[0,1,1,0,1,0,0.])
    plan = Plan((0,0,0), (0,0,5.), (1.,0.), (.1,.1), 9., light)
    scene = Set('', b.shapes(), np.array(b.materials), plan, Dice(1))
    cams,_ = set_cameras(scene, (60,90))
    v = render_scene(scene._replace(dice=Dice(1)), (60,90))
    u,w = (a.reshape(60,90) for a in cams.plane())
    d = np.stack([u,-w,np.ones_like(u)], -1) # y is up
    c = np.array([.2,.1,4.])
    a,h = (d*d).sum(-1),d@c
    root = h*h-a*(c@c-.64)
    ball = root>0
    t = (h-np.sqrt(np.maximum(root, 0)))/a
    test_close(v.disp[ball], (cams.f*cams.base/t)[ball], eps=1e-4)
    n = np.array([.6,0,.8]) # of the wall
    wall = (d@n)/(n@(0,-1,7))
    top = -w/wall # height of the point, m
    on = ~ball & (1/wall*-w<1-1e-6) & (1/wall*-w>-3+1e-6) & (wall>0)
    test_close(v.disp[on], (cams.f*cams.base*wall)[on], eps=1e-4)
    sky = ~ball & (1/wall*-w>1+1e-6)
    test_close(v.disp[sky], np.full(sky.sum(), .1), eps=1e-6)
    assert ball.sum()>200 and on.sum()>500 and sky.sum()>200
    test_close(v.disp[on].max()*0+cams.f*cams.base/plan.apart, cams.f*cams.base/9, eps=1e-9)

def test_mirrors_and_glass():
    from unittest.mock import patch as mock
    import stereo_kd.data.scenes as S
    def scene_with(name, half_height=1.5):
        b,r = Stage(),Dice(0)
        grey = np.array(material(r, 'stone'))
        grey[CONTRAST] = 0
        for k in range(8):
            b.box(.5*k-2, -1, 3.2-.3*k, .3, .5+.2*k, .3, k)
            b.materials.append([*grey[:7],.1+.1*k,.9-.1*k,.5,*grey[10:]])
        b.sheet(0, 0, 4, 4, 2*half_height, 8, turn=(.96,.28))
        b.materials.append(material(Dice(3), name))
        b.ground(0, -1, 0, 50, 50, 0)
        light = Light((1,)*3, (.5,)*3, [.5]*9+[0,1,1,0,1,0,0.])
        plan = Plan((0,.4,-2), (0,0,4.), (1.,0.), (.1,.1), 9., light)
        return Set('', b.shapes(), np.array(b.materials), plan, Dice(1))
    def views(name): return render_scene(scene_with(name), (60,120), shadows=False)
    fast = views('mirror')
    with mock.object(S, '_flat_parts', lambda who,normal: ([],np.arange(len(who)))): slow = views('mirror')
    difference = abs(fast.left.astype(int)-slow.left)
    assert difference.mean()<.2 and (difference>3).mean()<.01
    test_eq(fast.disp, views('stone').disp)
    test_eq(fast.disp, views('glass').disp)
    scene = scene_with('glass')
    cams,grid = set_cameras(scene, (60,120))
    who = S._see(scene.shapes, grid, *cams.plane()).who.reshape(60,120)
    pane = cv2.erode((who==8).astype(np.uint8), np.ones((3,3)))>0
    empty = scene._replace(dice=Dice(1), shapes=np.delete(scene.shapes, 8, 0))
    behind = render_scene(empty, (60,120), shadows=False).left[pane].ravel()
    through,plain = (np.corrcoef(views(name).left[pane].ravel(), behind)[0,1] for name in ('glass','stone'))
    assert pane.sum()>300 and through>plain+.2

def test_ingredients_can_be_left_out():
    size,n = (24,48),60
    scenes = [build_scene(0, i) for i in range(n)]
    pairs = lru_cache(lambda i: ScenePairs(n, size).render([i]))
    for name in SCENE_INGREDIENTS:
        if name in KINDS: # another kind instead, and no other pair changes
            for i in range(6):
                other = build_scene(0, i, [name])
                assert other.kind!=name
                if scenes[i].kind!=name: test_eq(other.shapes, scenes[i].shapes)
            continue
        dark = [i for i in range(n) if scenes[i].plan.light.dark]
        changed,less = 0,ScenePairs(n, size, without=[name])
        for i in dark if name=='night' else range(n):
            r,full = less.render([i]),pairs(i)
            changed += any((r[k]-full[k]).abs().max()>.01 for k in ('left','right'))
            if name in (*SCENE_DISAGREEMENTS,'shadows','flat','pattern','night'): test_eq(r['disp'], full['disp'])
            if changed: break
        assert changed, name
    test_fail(lambda: ScenePairs(1, without=['cars']), contains="ingredient 'cars'; known: blur, closeups")
    test_fail(lambda: build_scene(0, 0, list(KINDS)), contains='leaves out every kind of scene')

def test_only_large_surfaces_lose_their_pattern():
    from stereo_kd.data.scenes import _plain_materials
    sizes = np.array([(2,.02,.51), (.02,.98,1), (.49,2,.48)])
    shapes = shape_rows(BOX, np.zeros((3,3)), sizes/2, np.stack([np.eye(3)]*3), material=np.arange(3))
    drawn = [material(Dice(i), 'brick') for i in range(4)]
    was,got = (_plain_materials(drawn, shapes, w) for w in ((),['pattern']))
    test_eq(got[:,CONTRAST]==0, [True,False,False,False])
    got[0,CONTRAST] = was[0,CONTRAST]
    test_eq(got, was)
    some,same = ([build_scene(0, i, w) for i in range(40)] for w in (['pattern'],()))
    for a,b in zip(some, same): test_eq(a.shapes, b.shapes)
    assert all((s.materials[:,CONTRAST]==0).any() for s in some if s.kind in ('rooms','streets'))
    assert all((s.materials[:,CONTRAST]>0).all() for s in same)

def test_shares_of_kinds():
    kinds = []
    for i in range(400):
        from stereo_kd.data.scenes import _kind
        kinds.append(_kind(Dice(i), ()))
    for k,(_,share) in KINDS.items(): assert abs(kinds.count(k)/400-share)<.08, k
    assert abs(sum(share for _,share in KINDS.values())-1)<1e-9
    edge = outlines(np.array([[1,1,2],[1,1,2],[3,3,3]]))
    test_eq(edge.tolist(), [[False,True,True],[True]*3,[True]*3])

def test_same_index_same_bytes():
    from torch.utils.data import DataLoader
    ds = ScenePairs(100, (32,64), seed=7, occluded=False)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    whole = ds.render([3,50,9,4])
    torch.set_num_threads(3)
    other = ds.render([4,50,3])
    torch.set_num_threads(threads)
    for a,b in ((0,2),(1,1),(3,0)):
        for k in whole: test_eq(whole[k][a].numpy().tobytes(), other[k][b].numpy().tobytes())
    alone = ds.render([50])
    for k in whole: test_eq(alone[k][0].numpy().tobytes(), whole[k][1].numpy().tobytes())
    assert (ScenePairs(100, (32,64), seed=8).render([3])['left']-whole['left'][:1]).abs().mean()>.05
    small = ScenePairs(4, (32,64))
    a,b = ([b for b in DataLoader(small, batch_size=2, num_workers=n)] for n in (0,2))
    for p,q in zip(a, b, strict=True):
        for s,t in zip(p, q, strict=True): test_eq(s.numpy().tobytes(), t.numpy().tobytes())
    v = ScenePairs(4, (32,64)).views(2, occlusion=True)
    test_eq(hashlib.sha256(b''.join(a.tobytes() for a in v)).hexdigest()[:16], '6754fe91e40ab97a')

def test_a_batch_keeps_the_contract():
    all_,noc = ScenePairs(3, (64,96)),ScenePairs(3, (64,96), occluded=False, max_disp=40)
    left,right,disp,valid = noc.batch(range(3))
    test_eq([tuple(t.shape) for t in (left,right,disp,valid)], [(3,3,64,96)]*2+[(3,64,96)]*2)
    test_eq([disp.dtype,valid.dtype,len(noc),noc.mask,all_.mask], [torch.float32,torch.bool,3,'noc','all'])
    assert disp[~valid].eq(0).all() and disp[valid].max()<40 and disp[valid].min()>FARTHEST
    assert .3<valid.float().mean()<1 and all_.batch([1])[3].float().mean()>=valid[1].float().mean()
    item = all_[-1]
    test_eq([tuple(t.shape) for t in item], [(3,64,96)]*2+[(64,96)]*2)
    for t,u in zip(item, all_[2], strict=True): test_eq(t, u)
    test_fail(lambda: all_[3], exc=IndexError, contains='index 3 of 3')
    test_eq('visible' in all_.render([0]), False)

def test_disparities_survive_packing():
    rng = np.random.default_rng(0)
    plane = (.3*np.arange(80)+.01*np.arange(50)[:,None]+7.1).astype(np.float32)
    noise = rng.uniform(0, 255.9, (50,80)).astype(np.float32)
    far = np.full((50,80), 400., np.float32)
    for d in (plane,noise):
        back = unpack_disparity(pack_disparity(d), (50,80))
        assert abs(back-d).max()<=1/512+1e-5 and back.dtype==np.float32
    assert (unpack_disparity(pack_disparity(far), (50,80))>255.9).all()
    assert len(pack_disparity(plane))<.3*len(pack_disparity(noise))

def test_views_survive_packing():
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (20,30,3), dtype=np.uint8) for _ in range(2)]
    maps,masks = rng.uniform(.1, 200, (2,20,30)).astype(np.float32),rng.random((2,20,30))>.4
    views = Views(*images, *maps, *masks)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)/'a.pair'
        path.write_bytes(pack_views(views))
        back = read_views(path)
        body = path.read_bytes()[40:]
        for at,new in ((0,2**31),(4,31),(12,3)): # a size or a length, under a checksum that holds
            bad = body[:at]+np.array(new, '<u4').tobytes()+body[at+4:]
            path.write_bytes(MAGIC+hashlib.sha256(bad).digest()+bad)
            test_fail(lambda: read_views(path), exc=ValueError, contains='a.pair is no kept pair')
    for name,a,b in zip(Views._fields, views, back, strict=True):
        test_eq([a.shape,a.dtype], [b.shape,b.dtype])
        assert abs(a-b).max()<=1/512+1e-5 if 'disp' in name else (a==b).all()

def test_kept_pairs_are_the_rendered_ones():
    from stereo_kd.core import OtherRequest
    from stereo_kd.train.state import describe
    pairs = ScenePairs(3, (32,64), seed=2, occluded=False)
    with tempfile.TemporaryDirectory() as folder:
        kept = keep_scenes(pairs, folder)
        want,got = pairs.render(range(3)),kept.render(range(3))
        test_eq([len(kept), kept.size, kept.mask, sorted(got)], [3,(32,64),'noc',sorted(want)])
        for k in want:
            if 'disp' in k: test_close(got[k], want[k], eps=1/500)
            else: test_eq(got[k], want[k])
        later = kept.render([4]) # pair 1 in the second epoch: the same scene, photographed anew
        test_eq(later['disp'][0], got['disp'][1])
        assert 0<(later['left'][0]-got['left'][1]).abs().mean()<.4
        kept.without = ('noise',)
        first,anew = (kept.render([i])['left'] for i in (1,4))
        assert (first-anew).abs().mean()>.005 # by another exposure, not by other noise alone
        kept.without = ()
        times = {f.name:f.stat().st_mtime_ns for f in Path(folder).glob('*.pair')}
        test_eq(len(keep_scenes(ScenePairs(4, (32,64), seed=2), folder)), 4) # one more; the others stay
        assert all((Path(folder)/n).stat().st_mtime_ns==t for n,t in times.items())
        path = Path(folder)/'0000002.pair'
        before = path.read_bytes()
        path.unlink()
        test_fail(lambda: kept.views(2), exc=FileNotFoundError)
        later = keep_scenes(ScenePairs(6, (32,64), seed=2), folder, ahead=False)
        test_eq([len(later),path.exists(),describe(later)], [6,False,describe(kept)|dict(n=6, occluded=True, mask='all')])
        test_eq([later.views(8).disp.shape,path.read_bytes()], [(32,64),before]) # the third in the second epoch
        test_eq(sorted(f.name for f in Path(folder).glob('*.pair')), [f'000000{i}.pair' for i in range(4)])
        for other,says in ((dict(seed=3),'seed was 2'),(dict(seed=2, without=['gloss']),'without was')):
            test_fail(lambda: keep_scenes(ScenePairs(3, (32,64), **other), folder), exc=OtherRequest, contains=says)

def test_the_sky_counts_if_asked():
    asked,usual = (ScenePairs(12, (32,64), sky=s) for s in (True,False))
    _,_,disp,valid = asked.batch(range(12))
    known = usual.batch(range(12))[3]
    sky = valid & ~known
    assert .02<sky.float().mean()<.5 and known[sky].sum()==0
    test_close(disp[sky], torch.full_like(disp[sky], SKY), eps=4/1000)
    assert disp[known].min()>FARTHEST
    with tempfile.TemporaryDirectory() as folder:
        for pairs,want in ((usual,known),(asked,valid)): test_eq(keep_scenes(pairs, folder).batch(range(12))[3], want)

def test_damaged_files_are_named_and_made_again():
    pairs = ScenePairs(3, (32,64), seed=2)
    with tempfile.TemporaryDirectory() as folder:
        kept = keep_scenes(pairs, folder)
        path = kept.file(1)
        good = path.read_bytes()
        for bad in (good[:200],good[:300]+bytes([good[300]^1])+good[301:],b''):
            path.write_bytes(bad)
            test_fail(lambda: kept.render([1]), exc=ValueError, contains='0000001.pair is damaged')
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter('always')
                keep_scenes(pairs, folder)
            test_eq(['0000001.pair is damaged' in str(w.message) for w in said], [True])
            test_eq(path.read_bytes(), good)
        path.unlink()
        test_fail(lambda: KeptScenes(folder), exc=ValueError, contains='0000001.pair is missing')
        test_eq(len(keep_scenes(pairs, folder)), 3)
        test_fail(lambda: KeptScenes(folder, max_disp=300), contains='max_disp must be at most 256')
        test_fail(lambda: KeptScenes(folder, n=4), contains='n must be 1 to 3')
        test_eq(len(KeptScenes(folder, n=2)), 2)
        test_fail(lambda: KeptScenes(folder, make=True), contains='n must be given where pairs are made')
        test_fail(lambda: KeptScenes(Path(folder)/'none'), contains='holds no kept pairs')
        (Path(folder)/'made_from.json').write_text('{"seed": 2, "without": []}')
        test_fail(lambda: KeptScenes(folder), exc=ValueError, contains='made_from.json is damaged: it has no generator, size')
        whole = dict(size=[32,64], seed=2, without=[], generator='x')
        for wrong in (dict(seed='2'), dict(size=None), dict(without=['x']), dict(without=[[3]]), dict(generator=3)):
            (Path(folder)/'made_from.json').write_text(json.dumps(whole|wrong))
            test_fail(lambda: KeptScenes(folder), exc=ValueError, contains=f'made_from.json is damaged: {[*wrong][0]} is')
        for size in ([64,32],['x'],[1e300,{}]):
            (Path(folder)/'made_from.json').write_text(json.dumps(whole|dict(size=size)))
            test_fail(lambda: KeptScenes(folder).render([1]), exc=ValueError, contains='0000001.pair is (32, 64), the others are')
