//! What is drawn, and how light finds its way through it: a path tracer over spheres.
//!
//! Only the four operations and the square root are used, which IEEE 754 defines to the last bit: the picture is the
//! same on every machine, so that its hash tells whether the work was done.

use crate::{
    arguments::Size,
    vector::{Vector, vector},
};

/// How often a path may bounce before it counts as dark.
const MAX_BOUNCES: u32 = 12;
/// A path starts this far off the surface that it leaves, or rounding would make it hit that surface again.
const OFF_SURFACE: f64 = 1e-4;

const EYE: Vector = vector(6.6, 2.1, 5.2);
const LOOKING_AT: Vector = vector(0.0, 0.75, 0.0);
/// Height of the picture at distance 1 from the eye.
const FIELD: f64 = 0.62;

#[derive(Clone, Copy)]
enum Surface {
    /// Scatters light evenly.
    Matt(Vector),
    /// Mirrors, spread by the second number.
    Metal(Vector, f64),
    /// Bends light, with the index of refraction of window glass.
    Glass,
    Lamp(Vector),
}

struct Sphere {
    centre: Vector,
    radius: f64,
    surface: Surface,
}

#[derive(Clone, Copy)]
struct Ray {
    from: Vector,
    towards: Vector,
}

/// A camera before a scene.
pub struct Scene {
    spheres: Vec<Sphere>,
    size: Size,
    samples: u32,
    right: Vector,
    up: Vector,
    ahead: Vector,
}

impl Scene {
    pub fn new(size: Size, samples: u32) -> Scene {
        let ahead = (LOOKING_AT - EYE).unit();
        let right = ahead.cross(vector(0.0, 1.0, 0.0)).unit();
        Scene { spheres: arranged(), size, samples, right, up: right.cross(ahead), ahead }
    }

    /// One row of pixels from the top, three bytes each.
    pub fn row(&self, y: u32) -> Vec<u8> {
        (0..self.size.width).flat_map(|x| self.pixel(x, y)).collect()
    }

    fn pixel(&self, x: u32, y: u32) -> [u8; 3] {
        // Each pixel has a sequence of its own: which thread draws it makes no difference.
        let mut chance = Chance(u64::from(y) << 32 | u64::from(x));
        let light = (0..self.samples)
            .map(|_| self.light(self.ray(x, y, &mut chance), &mut chance))
            .fold(Vector::ZERO, |sum, light| sum + light);
        let mean = light * (1.0 / f64::from(self.samples));
        [mean.x, mean.y, mean.z].map(byte)
    }

    fn ray(&self, x: u32, y: u32, chance: &mut Chance) -> Ray {
        let pixel = FIELD / f64::from(self.size.height);
        let across = (f64::from(x) + chance.next() - f64::from(self.size.width) / 2.0) * pixel;
        let above = (f64::from(self.size.height) / 2.0 - f64::from(y) - chance.next()) * pixel;
        Ray { from: EYE, towards: (self.ahead + self.right * across + self.up * above).unit() }
    }

    /// The light that comes back along one ray.
    fn light(&self, ray: Ray, chance: &mut Chance) -> Vector {
        let mut ray = ray;
        let mut tint = vector(1.0, 1.0, 1.0);
        for _ in 0..MAX_BOUNCES {
            let Some((distance, sphere)) = self.nearest(ray) else { return sky(ray.towards).tinted(tint) };
            let at = ray.from + ray.towards * distance;
            let outward = (at - sphere.centre) * (1.0 / sphere.radius);
            let (colour, towards) = match sphere.surface {
                Surface::Lamp(light) => return light.tinted(tint),
                Surface::Matt(colour) => (colour, (outward + chance.direction()).unit()),
                Surface::Metal(colour, spread) => {
                    (colour, (ray.towards.reflected(outward) + chance.direction() * spread).unit())
                }
                Surface::Glass => (vector(0.97, 0.99, 0.98), through_glass(ray.towards, outward, chance)),
            };
            tint = tint.tinted(colour);
            ray = Ray { from: at, towards };
        }
        Vector::ZERO
    }

    fn nearest(&self, ray: Ray) -> Option<(f64, &Sphere)> {
        self.spheres
            .iter()
            .filter_map(|sphere| Some((sphere.hit(ray)?, sphere)))
            .min_by(|(one, _), (other, _)| one.total_cmp(other))
    }
}

impl Sphere {
    /// Distance along the ray to the first point of the surface: the smaller root of a quadratic that lies ahead.
    fn hit(&self, ray: Ray) -> Option<f64> {
        let offset = ray.from - self.centre;
        let half = offset.dot(ray.towards);
        let discriminant = half * half - offset.dot(offset) + self.radius * self.radius;
        if discriminant < 0.0 {
            return None;
        }
        let root = discriminant.sqrt();
        [-half - root, -half + root].into_iter().find(|distance| *distance > OFF_SURFACE)
    }
}

/// Three large spheres and a ring of small ones on a floor, below a lamp.
fn arranged() -> Vec<Sphere> {
    let sphere = |centre, radius, surface| Sphere { centre, radius, surface };
    let mut spheres = vec![
        sphere(vector(0.0, -1000.0, 0.0), 1000.0, Surface::Matt(vector(0.52, 0.56, 0.54))),
        sphere(vector(-0.2, 1.0, -2.1), 1.0, Surface::Metal(vector(0.86, 0.84, 0.78), 0.02)),
        sphere(vector(0.3, 1.0, 0.1), 1.0, Surface::Matt(vector(0.06, 0.48, 0.33))),
        sphere(vector(1.2, 1.0, 2.1), 1.0, Surface::Glass),
        sphere(vector(-3.0, 9.0, 4.0), 2.4, Surface::Lamp(vector(9.0, 8.2, 7.0))),
    ];
    let mut chance = Chance(20);
    for x in -4..5 {
        for z in -4..5 {
            let radius = 0.16 + 0.12 * chance.next();
            let centre =
                vector(f64::from(x) + 0.7 * chance.next(), radius, f64::from(z) + 0.7 * chance.next());
            let surface = small_surface(&mut chance);
            let clear = spheres.iter().skip(1).all(|other| {
                let apart = centre - other.centre;
                let least = radius + other.radius;
                apart.dot(apart) > least * least
            });
            if clear {
                spheres.push(sphere(centre, radius, surface));
            }
        }
    }
    spheres
}

fn small_surface(chance: &mut Chance) -> Surface {
    let kind = chance.next();
    let colour = vector(0.1 + 0.8 * chance.next(), 0.2 + 0.7 * chance.next(), 0.2 + 0.6 * chance.next());
    if kind < 0.6 {
        Surface::Matt(colour)
    } else if kind < 0.85 {
        Surface::Metal(colour, 0.15)
    } else {
        Surface::Glass
    }
}

fn sky(towards: Vector) -> Vector {
    let height = 0.5 * (towards.y + 1.0);
    vector(0.93, 0.91, 0.86) * (1.0 - height) + vector(0.38, 0.56, 0.78) * height
}

/// Refracted by Snell's law, or reflected: always where the law has no answer, else with Schlick's likelihood.
fn through_glass(towards: Vector, outward: Vector, chance: &mut Chance) -> Vector {
    const INDEX: f64 = 1.5;
    let entering = towards.dot(outward) < 0.0;
    let (normal, ratio) = if entering { (outward, 1.0 / INDEX) } else { (-outward, INDEX) };
    let cosine = -towards.dot(normal);
    let bent = 1.0 - ratio * ratio * (1.0 - cosine * cosine);
    if bent < 0.0 || chance.next() < schlick(cosine, INDEX) {
        return towards.reflected(normal);
    }
    (towards * ratio + normal * (ratio * cosine - bent.sqrt())).unit()
}

fn schlick(cosine: f64, index: f64) -> f64 {
    let straight = (1.0 - index) / (1.0 + index);
    let straight = straight * straight;
    let grazing = 1.0 - cosine;
    let squared = grazing * grazing;
    straight + (1.0 - straight) * squared * squared * grazing
}

/// A mean as a byte, with the square root as its tone curve.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=255")]
fn byte(light: f64) -> u8 {
    (light.clamp(0.0, 1.0).sqrt() * 255.0 + 0.5) as u8
}

/// SplitMix64 (Steele, Lea, Flood 2014): a sequence that looks like chance and is the same each time.
struct Chance(u64);

impl Chance {
    /// At least 0, below 1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A unit vector, every direction as likely: points of a cube, until one lies in the ball.
    fn direction(&mut self) -> Vector {
        loop {
            let point = vector(self.next(), self.next(), self.next()) * 2.0 - vector(1.0, 1.0, 1.0);
            let square = point.dot(point);
            if 1e-9 < square && square <= 1.0 {
                return point.unit();
            }
        }
    }
}
