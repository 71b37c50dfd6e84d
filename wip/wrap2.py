import sys
sys.argv=['x']
exec(open('/tmp/h/scenes/wrap.py').read().split("sub('04.txt',[")[0])
sub('10a.txt',[("              reflect=(0,0,0,.04), palette=((.5,.35,.2),(.35,.22,.13),(.7,.55,.35),(.8,.72,.6),(.2,.14,.1),(.6,.42,.28))),\n",
"              reflect=(0,0,0,.04),\n              palette=((.5,.35,.2),(.35,.22,.13),(.7,.55,.35),(.8,.72,.6),(.2,.14,.1),(.6,.42,.28))),\n")])
sub('10b.txt',[("    desk=(_desk,1.,1.6), floor_lamp=(_floor_lamp,.4,.5), big_plant=(_big_plant,.5,.8), fireplace=(_fireplace,1.,1.5),\n    radiator=(_radiator,.6,1.4), boxes",
"    desk=(_desk,1.,1.6), floor_lamp=(_floor_lamp,.4,.5), big_plant=(_big_plant,.5,.8),\n    fireplace=(_fireplace,1.,1.5), radiator=(_radiator,.6,1.4), boxes")])
sub('10f.txt',[(") -> dict:   # left, right (B,3,H,W) in [0,1]; disp, right_disp, and if not `occluded` visible, right_visible (B,H,W)\n",
") -> dict:   # left, right (B,3,H,W) in [0,1]; disp, right_disp (B,H,W); unless `occluded`, visible and right_visible\n")])
sub('04.txt',[
('            f"centre, half and axes must be (P,3), (P,3) and (P,3,3), got {centre.shape}, {half.shape}, {axes.shape}")\n',
 '            f"centre, half, axes must be (P,3), (P,3), (P,3,3), got {centre.shape}, {half.shape}, {axes.shape}")\n'),
('    "Bounds in a bundle: u from, to, v from, to, nearest t; `from` is above `to` if no ray can meet the primitive"\n',
 '    "Bounds in a bundle: u from, to, v from, to, nearest t; `from` is above `to` if no ray can meet it"\n'),
("from the sky (`sky_colour`), and","from the sky (`add_sky`), and"),
('''@exact
def rays(b, u, v):
    "Origins (N,3) and directions (N,3) of the rays of a bundle"
''','''@exact
def rays(
    b,    # from `bundle`
    u, v, # (N,)
):        # origins (N,3), m, and directions (N,3)
    "The rays of a bundle"
'''),
('''@exact
def surfaces(shapes, materials, tex, start, n, o, d, who, t, width):
    """Points (N,3), normals towards the viewer (N,3) and albedo (N,3) where rays meet `who` at `t`;
    `width` (N,) of a pixel there, m. All 0 where there is nothing"""
''','''%%% export
@exact
def surfaces(
    shapes,        # (P,22)
    materials,     # (M,16)
    tex, start, n, # from `mip_map`
    o, d,          # (N,3) origins, m, and directions of rays
    who, t,        # (N,) what they meet, see `trace`
    width,         # (N,) of a pixel there, m
):                 # points, m, unit normals towards the viewer, albedo, (N,3) each; 0 where there is nothing
    "Where rays meet surfaces, and what these look like"
'''),
('''@exact
def ambient(point, normal, who, above, below, heights, place, room):
    """Light from around (N,3): colours `above` and `below` (3,), blurred `heights` (n,n) with `place`
    (x and z of the first, cells a metre, rise that halves the effect), and `room` (2,3), its corners"""
''','''@exact
def ambient(
    point, normal, # (N,3), see `surfaces`
    who,           # (N,) primitive of each point; -1: none, which gets nothing
    above, below,  # (3,) colours of the light from there
    heights,       # (n,n) blurred, m; rows along z
    place,         # x and z of the first height, heights a metre, and a_0, m
    room,          # (2,3) its corners, m
):                 # (N,3)
    "Light from around, less of it in hollows and near the walls of a room"
'''),
('''@exact
def add_light(shapes, g, materials, colour, reach, shadows, point, normal, d, who, light, gloss):
    """Add what the source of a `Grid` gives, `colour` (3,), for a lamp at `reach` metres, to `light` (N,3), by which
    albedo is multiplied, and to `gloss` (N,3), which is added; with `shadows` only where nothing is in between"""
''','''@exact
def add_light(
    shapes,        # (P,22)
    g,             # `Grid` of the sun or a lamp
    materials,     # (M,16)
    colour,        # (3,)
    reach,         # m, where a lamp has that colour
    shadows,       # whether what is in between counts
    point, normal, # (N,3), see `surfaces`
    d,             # (N,3) directions in which they are looked at
    who,           # (N,) primitive of each point
    light,         # (N,3) to be multiplied by albedo; added to
    gloss,         # (N,3) as it is; added to
):
    "Add the light of a source"
'''),
('''@exact
def add_sky(sky, tex, start, n, d, who, out):
    """Put the sky's colour into `out` (N,3) where a ray meets nothing; `sky` (16,): colours of zenith, horizon and
    clouds, texture of the clouds, their level, their edge, direction to the sun, its glow"""
''','''@exact
def add_sky(
    sky,           # (16,) colours of zenith, horizon, clouds; their texture, level, edge; direction to the sun, its glow
    tex, start, n, # from `mip_map`
    d,             # (N,3) directions
    who,           # (N,) -1 where a ray meets nothing
    out,           # (N,3); changed there
):
    "Put the sky's colour where nothing else is"
'''),
('''@exact
def leaving(shapes, materials, who, t, albedo, light, gloss, haze, reach):
    """Light (N,3) that leaves each point towards the viewer, in haze of the colour `haze` (3,) that hides half at
    `reach` metres; and the shares (N,) that glass lets through and that a mirror reflects"""
''','''@exact
def leaving(
    shapes, materials,    # (P,22), (M,16)
    who, t,               # (N,) primitive and depth of each point, m
    albedo, light, gloss, # (N,3), see `surfaces` and `add_light`
    haze,                 # (3,) its colour
    reach,                # m, at which it hides half
):                        # light (N,3); shares (N,) that glass lets through and that a mirror reflects
    "Light that leaves points towards the viewer"
'''),
('''@exact
def mirrored(normal, d, share, least):
    """Directions (N,3) of reflected rays, and the share that is reflected: `share` (N,) seen straight, more at
    grazing angles (Schlick); shares below `least` are none"""
''','''@exact
def mirrored(
    normal, d, # (N,3)
    share,     # (N,) R_0, reflected of what comes straight
    least,     # what is less than this is none
):             # directions (N,3) of reflected rays, unit vectors; share (N,) that is reflected
    "Reflected rays"
'''),
("A leaf lets a part through.\n","A leaf lets a part through.\n"),
# tests
("test_eq(hit(ball, 0, 0, 5, 0, 0, 1, NEAR, FAR), FAR) # from inside\n",
 "test_eq(hit(ball, 0, 0, 5, 0, 0, 1, NEAR, FAR), FAR) # from inside\ntest_eq(hit(ball, 0, 0, 0, 0, 0, 1, NEAR, 2.9), FAR) # beyond the limit\ntest_close(solid_interval(ball, *rotated(ball, 0, 0, -5.), *rotated(ball, 0, 0, 1.)), (3,7), eps=1e-12)\ntest_eq([f(lambda x: 1/x)(0.) for f in (exact,inlined)], [np.inf]*2)\n"),
("%%% md\n## Cells\n",'''%%% test bounds_hold_all_that_is_hit
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
%%% md
## Cells
'''),
("        who,t = trace(shapes, g, u, v, np.full(N, near), np.full(N, -1))\n        for i in range(N):\n",
 "        who,t = trace(shapes, g, u, v, np.full(N, near), np.full(N, -1))\n        assert isinstance(g, Grid)\n        test_eq(nearest(shapes, g, u[3], v[3], near, -1), (who[3],t[3]))\n        for i in range(N):\n"),
("        test_eq(got[i], not min(every)<t[i]-1e-3)\n",
 "        test_eq(got[i], not min(every)<t[i]-1e-3)\n        k = blocker(shapes, g, u[i], v[i], t[i]-1e-3, skip[i], i%60)\n        assert (k<0)==got[i] and (k<0 or k!=skip[i] and hit(shapes[k], *ray(b, u[i], v[i]), b[13], FAR)<t[i])\n"),
])
sub('10e.txt',[("%%% md\n## Light on its way",'''%%% test cameras_look_at_the_target
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
%%% md
## Light on its way'''),
("%%% export\nLEAST = .1",'''%%% test a_plain_wall_shows_its_albedo
b = Stage()
b.sheet(0, 0, 3, 9, 9, 0)
grey = [0, 100, 0, 100, 0, 0, 0, .2,.5,.7, 0,4,0,0,0,0]
light = Light((1,1,1), (1,1,1), [.3]*9+[0,1,1,0,1,0,0.])
scene = Set('', b.shapes(), np.array([grey], float), Plan((0,0,0), (0,0,3), UPRIGHT, (.1,.1), 9., light), Dice(0))
cams,grid = set_cameras(scene, (16,24))
def seen(scene, shadows=True):
    s = _see(scene.shapes, grid, *cams.plane())
    assert isinstance(s, Sight)
    o,d = rays(grid.bundle, s.u, s.v)
    w = light_up(scene, o+s.t[:,None]*d, shadows)
    assert isinstance(w, World)
    return radiance(w, grid, s.u, s.v, o, d, s.who, s.t, s.t/cams.f)
test_close(seen(scene), np.tile([.04,.25,.49], (16*24,1)), eps=1e-6) # c squared
lit = light._replace(above=(0,0,0), below=(0,0,0), sun=((0,-.6,.8),(2,2,2)), haze=3.)
half = seen(scene._replace(plan=scene.plan._replace(light=lit)))
want = .5*(np.array([.04,.25,.49])*2*.8)+.5*.3 # the sun at an angle, half of it hidden by haze at 3 m
test_close(half, np.tile(want, (16*24,1)), eps=1e-6)
%%% export
LEAST = .1'''),
])
sub('10h.txt',[("%%% test kept_pairs_are_the_rendered_ones\n",'''%%% test views_survive_packing
rng = np.random.default_rng(0)
images = [rng.integers(0, 256, (20,30,3), dtype=np.uint8) for _ in range(2)]
maps,masks = rng.uniform(.1, 200, (2,20,30)).astype(np.float32),rng.random((2,20,30))>.4
views = Views(*images, *maps, *masks)
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder)/'a.pair'
    path.write_bytes(pack_views(views))
    back = read_views(path)
for name,a,b in zip(Views._fields, views, back, strict=True):
    test_eq([a.shape,a.dtype], [b.shape,b.dtype])
    assert abs(a-b).max()<=1/512+1e-5 if 'disp' in name else (a==b).all()
%%% test kept_pairs_are_the_rendered_ones
''')])
