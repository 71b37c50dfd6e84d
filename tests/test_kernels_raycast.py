# Generated from nbs/04_kernels.raycast.ipynb; edit the notebook, not this file
import numpy as np
from math import floor, sqrt
from typing import NamedTuple
from stereo_kd.kernels.jit import exact
import time
import matplotlib.pyplot as plt
from fastcore.test import *
from stereo_kd.kernels.raycast import *

def test_sphere_has_its_analytic_depth():
    ball = shape(ELLIPSOID, (0,0,5.), (2.,2.,2.))[0]
    test_close(hit(ball, 0, 0, 0, 0, 0, 1, NEAR, FAR), 3, eps=1e-12)
    for u,v in np.random.default_rng(0).uniform(-.3, .3, (50,2)):
        n = 1+u*u+v*v
        test_close(hit(ball, 0, 0, 0, u, v, 1, NEAR, FAR), (5-np.sqrt(25-21*n))/n, eps=1e-12)
    test_eq(hit(ball, 0, 0, 0, 1, 0, 1, NEAR, FAR), FAR)
    test_eq(hit(ball, 0, 0, 9, 0, 0, 1, NEAR, FAR), FAR) # behind
    test_eq(hit(ball, 0, 0, 5, 0, 0, 1, NEAR, FAR), FAR) # from inside
    test_eq(hit(ball, 0, 0, 0, 0, 0, 1, NEAR, 2.9), FAR) # beyond the limit
    test_close(solid_interval(ball, *rotated(ball, 0, 0, -5.), *rotated(ball, 0, 0, 1.)), (3,7), eps=1e-12)
    test_eq(inlined(lambda x: 1/x)(0.), np.inf)

def test_solids_are_entered_where_they_begin():
    def inside(s, q):
        x,y,z = q.T
        w = 1-.5*s[TAPER]*(y+1)
        if s[KIND]==ELLIPSOID: return (q**2).sum(1)<1
        ok = (abs(y)<1) & ((abs(x)<w) & (abs(z)<1) if s[KIND]==BOX else x*x+z*z<w*w)
        return ok & ((q**2).sum(1)<s[ROUND]**2) if s[ROUND] else ok
    rng = np.random.default_rng(0)
    t = np.linspace(0, 12, 6001)
    cylinders = (CYLINDER,0,0),(CYLINDER,1,0),(CYLINDER,.4,1.2)
    for kind,taper,ball in ((BOX,0,0),(BOX,.7,0),(BOX,0,1.3),*cylinders,(ELLIPSOID,0,0)):
        hits = 0
        for _ in range(40):
            axes = np.linalg.qr(rng.normal(size=(3,3)))[0]
            s = shape(kind, rng.normal(size=3)+(0,0,6), rng.uniform(.3, 2, 3), axes, taper=taper, round=ball)[0]
            d = np.array([*rng.uniform(-.25, .25, 2),1])
            along = inside(s, np.stack(rotated(s, *(t[:,None]*d-s[1:4]).T), 1))
            got = hit(s, 0, 0, 0, *d, NEAR, FAR)
            if along.any() and not along[0]:
                assert abs(t[along.argmax()]-got)<2.1e-3, (kind, taper, ball, t[along.argmax()], got)
                hits += 1
            elif not along.any(): # a corner between two steps, at most
                assert got==FAR or not inside(s, np.stack(rotated(s, *((got+1e-3)*d-s[1:4])))[None]).any()
        assert hits>4, (kind, hits)

def test_cones_and_cut_outs():
    cone = shape(CYLINDER, (0,0,5), (1,1,1), [[1,0,0],[0,0,-1],[0,1,0]], taper=1)[0] # its tip points at the camera
    for u in (0.,.02,.05,.1,.14): # the surface: x = (t-4)/2
        test_close(hit(cone, 0, 0, 0, u, 0, 1, NEAR, FAR), 4/(1-2*u) if u else 4, eps=1e-9)
    test_eq(hit(cone, 0, 0, 0, .2, 0, 1, NEAR, FAR), FAR)
    base = shape(CYLINDER, (0,0,5), (1,1,1), [[1,0,0],[0,0,1],[0,-1,0]], taper=1)[0] # its base does
    for u in (0.,.1,.24): test_close(hit(base, 0, 0, 0, u, 0, 1, NEAR, FAR), 4, eps=1e-12)
    fence = shape(BARS, (0,0,2), (1,1,1), cells=10, duty=.3, taper=2, round=.1)[0]
    x = np.linspace(-.99, .99, 397)
    solid = np.array([hit(fence, a, .3, 0, 0, 0, 1, NEAR, FAR)<FAR for a in x])
    test_eq(solid, (5*(x+1)%1<.3))
    assert all(hit(fence, a, .01, 0, 0, 0, 1, NEAR, FAR)==2 for a in x) # a row
    tree = shape(LEAVES, (0,0,2), (1,1,1), cells=6, duty=.5, key=3)[0]
    places = np.random.default_rng(0).uniform(-1, 1, (2000,2))
    cover = np.mean([hit(tree, *p, 0, 0, 0, 1, NEAR, FAR)<FAR for p in places])
    assert .25<cover<.45 # 2/3 of duty, of 85 % of the cells
    draws = np.array([hashed(i, j, 7) for i in range(60) for j in range(60)])
    assert abs(draws.mean()-.5)<.02 and abs(draws.std()-12**-.5)<.01
    assert abs(np.corrcoef(draws[1:], draws[:-1])[0,1])<.05
    test_fail(lambda: shape_rows([BOX], [[0,0,0]], [[1,1]], [np.eye(3)]), contains='got (1, 3), (1, 2)')

def test_normals_are_gradients():
    rng = np.random.default_rng(1)
    cylinders = (CYLINDER,0,0),(CYLINDER,.5,0),(CYLINDER,0,1.1)
    for kind,taper,ball in ((BOX,0,0),(BOX,.6,0),(BOX,0,1.2),*cylinders,(ELLIPSOID,0,0)):
        seen = 0
        for _ in range(60):
            axes = np.linalg.qr(rng.normal(size=(3,3)))[0]
            s = shape(kind, (0,0,5), rng.uniform(.5, 1.5, 3), axes, taper=taper, round=ball)[0]
            u,v = rng.uniform(-.15, .15, 2)
            d = 1e-5
            at = [hit(s, 0, 0, 0, a, b, 1, NEAR, FAR) for a,b in ((u,v),(u+d,v),(u,v+d))]
            if max(at)==FAR: continue
            p,q,r = (t*np.array([a,b,1]) for t,(a,b) in zip(at, ((u,v),(u+d,v),(u,v+d))))
            local = rotated(s, *(p-s[1:4]))
            n = np.array(normal_at(s, part_of(s, *local), *local))
            tangent = np.cross(q-p, r-p)
            test_close(abs(n@tangent)/np.linalg.norm(tangent), 1, eps=1e-3)
            assert n@p<0 and abs(np.linalg.norm(n)-1)<1e-9 # it looks at the camera
            seen += 1
        assert seen>20, (kind, seen)

def test_textures_are_laid_out_in_metres():
    s = shape(CYLINDER, (0,0,0), (.5,1,.5))[0]
    turn = np.array([unrolled(s, 3, np.cos(a), 0, np.sin(a)) for a in np.linspace(-3.14, 3.14, 400)])[:,0]
    assert (np.diff(turn)>0).all() and abs(np.ptp(turn)-np.pi)<.02 # once around, the circumference
    s = shape(BOX, (0,0,0), (1,2,3))[0]
    test_eq([unrolled(s, k, .5, .25, .125) for k in (0,1,2)], [(.375,-.5),(.5,.375),(.5,-.5)])

def test_rays_and_projection_undo_each_other():
    rng = np.random.default_rng(0)
    for central in (True,False):
        b = bundle((1,2,3), *np.linalg.qr(rng.normal(size=(3,3)))[0], central)
        for u,v,t in rng.uniform(.1, 3, (20,3)):
            r = np.array(ray(b, u, v))
            point = r[:3]+t*r[3:]
            test_close(project(b, *point), (u,v,t), eps=1e-9)
            test_close(np.ravel(project_points(b, point[None])), (u,v,t), eps=1e-9)

def test_bounds_hold_all_that_is_hit():
    rng = np.random.default_rng(3)
    n,out = 120,np.empty((8,3))
    shapes = shape_rows(
        rng.integers(0, 6, n), rng.uniform(-2, 2, (n,3)), rng.uniform(.1, 3, (n,3)),
        np.linalg.qr(rng.normal(size=(n,3,3)))[0], taper=rng.uniform(0, .9, n), cells=2, duty=.5)
    found = 0
    for central in (True,False):
        b = bundle((0,0,-1), *np.linalg.qr(rng.normal(size=(3,3)))[0], central)
        for u,v in rng.normal(size=(40,2)):
            for s in shapes:
                t = hit(s, *ray(b, u, v), b[13], FAR)
                if t==FAR: continue
                u0,u1,v0,v1,near = extent(s, b, out)
                assert u0<=u+1e-9 and u<=u1+1e-9 and v0<=v+1e-9 and v<=v1+1e-9 and near<=t+1e-9
                found += 1
    assert found>500
    u0,u1,v0,v1,near = extent(shape(BOX, (0,0,5), (1,2,1))[0], bundle((0,0,0), (1,0,0), (0,1,0), (0,0,1)), out)
    test_close((u0,u1,v0,v1,near), (-.25,.25,-.5,.5,4), eps=1e-12) # and are tight
    u0,u1,*_ = extent(shape(BOX, (0,0,-5), (1,2,1))[0], bundle((0,0,0), (1,0,0), (0,1,0), (0,0,1)), out)
    assert u0>u1 # behind

def test_cells_lose_nothing():
    def crowd(n, size):
        rng = np.random.default_rng(0)
        axes = np.linalg.qr(rng.normal(size=(n,3,3)))[0]
        half = rng.uniform(.05, .6, (n,3))
        half[:3] = size # around everything
        return shape_rows(
            rng.integers(0, 6, n), rng.uniform(-4, 4, (n,3)), half, axes, taper=rng.uniform(0, .9, n),
            cells=rng.integers(1, 5, n), duty=rng.uniform(.2, .8, n), key=rng.integers(0, 99, n))
    rng = np.random.default_rng(1)
    N = 150
    for central in (True,False):
        shapes = crowd(200, 30. if central else 2.)
        b = bundle((0,0,-2), *np.linalg.qr(rng.normal(size=(3,3)))[0], central)
        u,v = rng.normal(size=(2,N))*(.8 if central else 3)
        near = b[13]
        for seen in (slice(None),slice(20)): # lines for all rays, and for a few of them
            g = make_grid(shapes, b, u[seen], v[seen], (12,20))
            who,t = trace(shapes, g, u, v, np.full(N, near), np.full(N, -1))
            assert isinstance(g, Grid)
            test_eq(nearest(shapes, g, u[3], v[3], near, -1), (who[3],t[3]))
            for i in range(N):
                every = [hit(s, *ray(b, u[i], v[i]), near, FAR) for s in shapes]
                test_eq(t[i], min(every))
                if t[i]<FAR: test_eq(every[who[i]], t[i])
        assert 40<(t<FAR).sum() and len(set(who))>10 and len(g.item)<.1*200*240

def test_lists_and_shadows_agree_with_brute_force():
    shapes = shape_rows(
        [BOX,ELLIPSOID,LEAVES]*20, np.random.default_rng(0).uniform(-3, 3, (60,3)),
        np.random.default_rng(1).uniform(.1, .5, (60,3)), np.broadcast_to(np.eye(3), (60,3,3)), cells=3, key=5)
    rng = np.random.default_rng(2)
    points = rng.uniform(-3, 3, (80,3))
    skip = rng.integers(-1, 60, 80)
    for central in (True,False):
        b = bundle((0,0,-8), (1,0,0), (0,1,0), (0,0,1), central)
        u,v,t = np.array([project(b, *p) for p in points]).T
        g = make_grid(shapes, b, u, v, (9,9))
        got = reached(shapes, g, points, skip, 0., 1e-3)
        for i in range(80):
            every = [hit(s, *ray(b, u[i], v[i]), b[13], FAR) for k,s in enumerate(shapes) if k!=skip[i]]
            test_eq(got[i], not min(every)<t[i]-1e-3)
            k = blocker(shapes, g, u[i], v[i], t[i]-1e-3, skip[i], i%60)
            assert (k<0)==got[i] and (k<0 or k!=skip[i] and hit(shapes[k], *ray(b, u[i], v[i]), b[13], FAR)<t[i])
        assert 20<got.sum()<75
    d = rng.normal(size=(80,3))
    chosen = np.arange(0, 60, 2)
    who,t = trace_list(shapes, chosen, points, d, skip)
    for i in range(80):
        every = {k:hit(shapes[k], *points[i], *d[i], 1e-4, FAR) for k in chosen if k!=skip[i]}
        test_eq(t[i], min(every.values()))
        if t[i]<FAR: test_eq(every[who[i]], t[i])
    assert (t<FAR).sum()>5

def test_a_plane_has_linear_disparity():
    f,base,H,W = 120.,.3,40,60
    x,y = (v.ravel().astype(float) for v in np.meshgrid(np.arange(W), np.arange(H)))
    u,v = (x-30)/f,(y-20)/f
    floor_ = shape(RECTANGLE, (0,1.2,6), (50,50,1), [[1,0,0],[0,0,1],[0,-1,0]])
    n = np.array([.4,.1,-1.])/np.linalg.norm([.4,.1,-1.])
    X = np.cross((0,1,0), n)/np.linalg.norm(np.cross((0,1,0), n))
    wall = shape(RECTANGLE, (.2,0,4), (50,50,1), [X,np.cross(n, X),n])
    for s,normal,point in ((wall,n,(.2,0,4)),(floor_,(0,1,0),(0,1.2,6))):
        for shift in (0,base):
            g = make_grid(s, bundle((shift,0,0), (1,0,0), (0,1,0), (0,0,1)), u, v)
            _,t = trace(s, g, u, v, np.full(len(u), NEAR), np.full(len(u), -1))
            rays = np.stack([u,v,np.ones_like(u)], 1)
            want = f*base*(rays@normal)/(normal@(np.array(point)-(shift,0,0)))
            seen = (t<FAR) & (f*base/t>.5)
            test_close(f*base/t[seen], want[seen], eps=1e-9)
            assert seen.sum()>900

def test_textures_are_read_at_the_right_size():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3,64,64,3), dtype=np.uint8)
    images[1] = 77
    tex,start,n = mip_map(images)
    test_eq([n, len(tex), tex[start[6]+1]], [64, sum(3*4**k for k in range(7)), 77*0x010101])
    read = lambda u,v,w,k=0: np.array(sample_texture(tex, start, n, k, u, v, w/.75))*255
    test_close(read(10.5, 7.5, 1), images[0,7,10].astype(float), eps=1e-9)
    test_close(read(10.75, 7.5, 1), .75*images[0,7,10]+.25*images[0,7,11], eps=1e-9)
    test_close(read(11, 9, 2), images[0,8:10,10:12].mean((0,1)), eps=.51) # one of half the size
    test_close(read(10.5, 7.5, 1.5), .5*read(10.5, 7.5, 1)+.5*read(10.5, 7.5, 2), eps=1e-9)
    test_close(read(20.25, 33.5, 1), read(-20.25, 33.5, 1), eps=1e-9)
    test_close(read(20.25, 33.5, 1), read(20.25+128, 33.5-128, 1), eps=1e-9)
    test_eq(read(5., 5., 900., 1).tolist(), [77.]*3)
    far,near = (np.std([read(*p, w) for p in rng.uniform(0, 64, (200,2))]) for w in (30.,1.))
    assert far<.3*near
    test_fail(lambda: mip_map(images[:,:60,:60]), contains='64, 128')

def test_light_from_around():
    point = np.array([[0,0,0],[0,0,0],[9,0,9],[0,1.8,0],[0,0,0]], float)
    normal = np.array([[0,1,0],[0,-1,0],[0,1,0],[0,1,0],[1,0,0]], 'f4')
    heights = np.zeros((10,10))
    heights[7:,7:] = 2.
    above,below,nowhere = np.array([1.,.8,.6]),np.array([.2,.2,.2]),np.array([[-FAR]*3,[FAR]*3])
    light = ambient(point, normal, np.zeros(5, int), above, below, heights, np.array([0.,0.,1.,.5]), nowhere)
    test_close(light[0], above, eps=1e-6)
    test_close(light[1], below, eps=1e-6)
    test_close(light[4], (above+below)/2, eps=1e-6)
    test_close(light[2], above*(1-.75*2/2.5), eps=1e-3)
    room = np.array([[-5,-1,-5],[5,2,5]], float)
    in_room = ambient(point, normal, np.array([0,0,-1,0,0]), above, below, heights, np.array([0.,0.,1.,.5]), room)
    test_close(in_room[0], above, eps=1e-6)
    test_close(in_room[3], above*(1-.33*(2/3)**2), eps=1e-6) # .2 m below the ceiling
    test_eq(in_room[2].tolist(), [0,0,0]) # nothing is there

def test_sun_and_lamps():
    box = shape(BOX, (0,1,0), (.5,.1,.5))
    floor_ = shape(RECTANGLE, (0,0,0), (9,9,1), [[1,0,0],[0,0,1],[0,1,0]], material=1)
    shapes = np.concatenate([box, floor_])
    matte,shiny = np.zeros((2,N_MATERIAL))
    shiny[[SHEEN,SHINE]] = 1,5
    x = np.linspace(-2, 2, 81)
    point = np.stack([x,0*x,0*x], 1)
    normal,who = np.tile([0.,1.,0.], (81,1)),np.ones(81, int)
    def lit(b, materials, shadows=True, eye=(0,3.,0), normal=normal):
        g = make_grid(shapes, b, *project_points(b, point)[:2], (8,8))
        light,gloss = np.zeros((81,3), 'f4'),np.zeros((81,3), 'f4')
        colour = np.array([3.,2.,1.])
        add_light(shapes, g, materials, colour, 2., shadows, point, normal, point-eye, who, light, gloss)
        return light,gloss
    c = .8 # cosine of the sun's angle
    sun = bundle((0,0,0), (.8,.6,0), (0,0,1), (.6,-c,0), False)
    light,gloss = lit(sun, np.stack([matte,matte]))
    shaded = (x>.25+.75*.05+.001) & (x<1.25-.75*.05-.001) # .75 m to the right for each metre of the box's height
    dark = light[:,0]==0
    assert dark[shaded].all() and not dark[(x<.2) | (x>1.4)].any() and (gloss==0).all()
    test_close(light[~dark], np.tile([3*c,2*c,c], ((~dark).sum(),1)), eps=1e-6)
    test_eq((lit(sun, np.stack([matte,matte]), shadows=False)[0]==0).any(), False)
    lamp = bundle((0,2,0), (1,0,0), (0,0,1), (0,-1,0))
    light,_ = lit(lamp, np.stack([matte,matte]))
    outside = abs(x)>1.2
    r2 = x*x+4
    test_close(light[outside,2], (4/(r2+.08)*2/np.sqrt(r2))[outside], eps=1e-3)
    assert (light[abs(x)<.9]==0).all()
    for eye in ((-2.,3.,0.),(2.,3.,0.)): # the highlight: the eye's mirror image sees the sun's direction
        _,gloss = lit(sun, np.stack([matte,shiny]), False, np.array(eye))
        test_close(x[gloss[:,0].argmax()], np.clip(eye[0]-3*.75, -2, 2), eps=.06)
    leaf = matte.copy()
    leaf[THROUGH] = .25
    test_close(lit(sun, np.stack([matte,leaf]), False, normal=-normal)[0][0], .25*c*np.array([3,2,1]), eps=1e-6)
    test_eq(lit(sun, np.stack([matte,matte]), False, normal=-normal)[0].max(), 0)

def test_sky_haze_and_mirrors():
    tex,start,n = mip_map(np.full((1,64,64,3), 255, np.uint8))
    sky = np.array([.1,.2,.9, .8,.8,.8, 2,2,2, 0, .5,4, 0,1,0, 0.])
    d = np.array([[0,5,0],[1,0,0],[0,-1,0.]])
    out = np.full((3,3), 7., 'f4')
    add_sky(sky, tex, start, n, d, np.array([-1,-1,3]), out)
    test_close(out, [[2,2,2],[.8,.8,.8],[7,7,7]], eps=1e-6) # clouds above, horizon, a thing that stays as it is
    sky[10] = 1.1 # a clear sky
    add_sky(sky, tex, start, n, d, np.array([-1,-1,3]), out)
    test_close(out[0], sky[:3], eps=1e-6)
    shapes,m = shape(BOX, (0,0,0), (1,1,1)),np.zeros((1,N_MATERIAL))
    m[0,[GLOW,TRANSMIT,REFLECT]] = .5,.6,.3
    albedo,light,gloss = (np.full((2,3), v, 'f4') for v in (.5,1.,.2))
    who,t = np.array([0,-1]),np.array([10.,0])
    out,through,back = leaving(shapes, m, who, t, albedo, light, gloss, np.array([0.,1,2]), 10.)
    test_close(out, [[.475,.975,1.475],[0,0,0]], eps=1e-6) # half of .5*(1+.5)+.2, half of the haze
    test_eq([through.tolist(),back.tolist()], [[.6,0],[.3,0]])
    d = np.array([[0,0,2.],[1,0,1e-6]])
    to,part = mirrored(np.tile(np.array([0,0,-1.], 'f4'), (2,1)), d, np.array([.2,.2]), .1)
    test_close(to[0], [0,0,-1], eps=1e-6)
    test_close(part, [.1/.9,1], eps=1e-4)

def test_surfaces_know_where_they_are():
    images = np.zeros((1,64,64,3), np.uint8)
    images[:,:,32:] = 255
    tex,start,n = mip_map(images)
    m = np.zeros((1,N_MATERIAL))
    m[0,[SCALE,CONTRAST,RED,GREEN,BLUE]] = 24,1,.5,.5,.5
    s = shape(BOX, (0,0,5), (3,3,1))
    u,v = np.linspace(-.5, .5, 101),np.zeros(101)
    b = bundle((0,0,0), (1,0,0), (0,1,0), (0,0,1))
    o,d = rays(b, u, v)
    who,t = trace(s, make_grid(s, b, u, v), u, v, np.full(101, NEAR), np.full(101, -1))
    point,normal,albedo = surfaces(s, m, tex, start, n, o, d, who, t, np.full(101, .01))
    test_close(point, np.stack([4*u,v,np.full(101, 4.)], 1), eps=1e-12)
    test_close(normal, np.tile([0,0,-1.], (101,1)), eps=1e-6)
    edges = point[:-1,0][np.diff(albedo[:,0]>.25)] # 32 texels from the middle, where it is mirrored
    test_close(edges, (-32/24,32/24), eps=.05)
    assert abs(albedo[:,0]-albedo[:,2]).max()==0 and albedo.min()<.01 and albedo.max()>.99
    s[0,KEY] = 5
    moved = surfaces(s, m, tex, start, n, o, d, who, t, np.full(101, .01))[2]
    assert abs(moved-albedo).max()>.5 # another key, another part of the texture
