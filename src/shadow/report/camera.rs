//! From the base frame into the picture: where the two moves are drawn.

use nalgebra::{Isometry3, Point3, Translation3, UnitQuaternion, Vector3};

use crate::ros::messages::CameraInfo;

/// Nothing nearer to the camera than this is drawn, m.
const NEAREST_M: f64 = 0.01;
/// The distortion of a lens is only known within the picture: points further out than this many times the picture's sides
/// are not drawn.
const FURTHEST_OUT: f64 = 2.0;

/// A camera whose lens and place are known.
#[derive(Clone, Debug, PartialEq)]
pub struct Camera {
    lens: Lens,
    camera_from_base: Isometry3<f64>,
}

/// What `sensor_msgs/CameraInfo` says of a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Lens {
    /// Width and height of the picture, pixels.
    size: (u32, u32),
    /// Focal lengths, then the principal point, pixels of the whole sensor.
    focal: (f64, f64),
    centre: (f64, f64),
    /// Corner of the region of interest, and pixels that were put together.
    corner: (f64, f64),
    binning: (f64, f64),
    distortion: Distortion,
}

#[derive(Clone, Debug, PartialEq)]
enum Distortion {
    /// k1, k2, p1, p2, k3, and k4, k5, k6 of the denominator: `plumb_bob` and `rational_polynomial`.
    Polynomial([f64; 8]),
    /// k1 … k4 of the angle: `equidistant`.
    Equidistant([f64; 4]),
}

impl Lens {
    /// From a message; an error says why it is of no use.
    ///
    /// # Errors
    /// A sentence for people.
    pub fn new(info: &CameraInfo) -> Result<Self, String> {
        let [fx, skew, cx, _, fy, cy, ..] = info.k;
        let numbers = info.k.iter().chain(&info.d);
        if !numbers.clone().all(|number| number.is_finite()) || fx <= 0.0 || fy <= 0.0 || skew != 0.0 {
            return Err("camera_info has no camera matrix, or one that is none".to_owned());
        }
        let first = |n: usize| info.d.get(n).copied().unwrap_or(0.0);
        let distortion = match info.distortion_model.as_str() {
            "equidistant" | "fisheye" => Distortion::Equidistant([0, 1, 2, 3].map(first)),
            "" | "plumb_bob" | "rational_polynomial" if info.d.len() <= 8 => {
                Distortion::Polynomial([0, 1, 2, 3, 4, 5, 6, 7].map(first))
            }
            other => return Err(format!("the lens model `{other}` with {} numbers is not known here", info.d.len())),
        };
        let roi = info.roi;
        let (width, height) =
            if roi.width > 0 && roi.height > 0 { (roi.width, roi.height) } else { (info.width, info.height) };
        let (bx, by) = (info.binning_x.max(1), info.binning_y.max(1));
        Ok(Self {
            size: (width / bx, height / by),
            focal: (fx, fy),
            centre: (cx, cy),
            corner: (f64::from(roi.x_offset), f64::from(roi.y_offset)),
            binning: (f64::from(bx), f64::from(by)),
            distortion,
        })
    }

    /// Pixel of a point in the camera's optical frame; `None` behind the camera or far outside the picture.
    fn project(&self, point_in_camera: &Point3<f64>) -> Option<[f64; 2]> {
        if point_in_camera.z < NEAREST_M {
            return None;
        }
        let (x, y) = (point_in_camera.x / point_in_camera.z, point_in_camera.y / point_in_camera.z);
        let (x, y) = match self.distortion {
            Distortion::Polynomial([k1, k2, p1, p2, k3, k4, k5, k6]) => {
                let r2 = x * x + y * y;
                let radial = (1.0 + r2 * (k1 + r2 * (k2 + r2 * k3))) / (1.0 + r2 * (k4 + r2 * (k5 + r2 * k6)));
                let dx = 2.0 * p1 * x * y + p2 * (r2 + 2.0 * x * x);
                let dy = p1 * (r2 + 2.0 * y * y) + 2.0 * p2 * x * y;
                (x * radial + dx, y * radial + dy)
            }
            Distortion::Equidistant([k1, k2, k3, k4]) => {
                let r = x.hypot(y);
                let angle = r.atan();
                let a2 = angle * angle;
                let bent = angle * (1.0 + a2 * (k1 + a2 * (k2 + a2 * (k3 + a2 * k4))));
                let scale = if r > 1e-9 { bent / r } else { 1.0 };
                (x * scale, y * scale)
            }
        };
        let u = (self.focal.0 * x + self.centre.0 - self.corner.0) / self.binning.0;
        let v = (self.focal.1 * y + self.centre.1 - self.corner.1) / self.binning.1;
        let within = |value: f64, size: u32| {
            let size = f64::from(size);
            (-FURTHEST_OUT * size..=(1.0 + FURTHEST_OUT) * size).contains(&value)
        };
        (within(u, self.size.0) && within(v, self.size.1)).then_some([u, v])
    }
}

/// Place of the camera's optical frame (z forward, x right, y down) in the base frame, from x, y, z (m) and the extrinsic
/// x, y, z angles (rad).
pub fn base_from_camera([x, y, z, roll, pitch, yaw]: [f64; 6]) -> Isometry3<f64> {
    let rotation = UnitQuaternion::from_euler_angles(roll, pitch, yaw);
    Isometry3::from_parts(Translation3::new(x, y, z), rotation)
}

impl Camera {
    /// A camera with this lens at this place.
    pub fn new(lens: Lens, base_from_camera: &Isometry3<f64>) -> Self {
        Self { lens, camera_from_base: base_from_camera.inverse() }
    }

    /// Width and height of its pictures, pixels.
    pub fn size(&self) -> (u32, u32) {
        self.lens.size
    }

    /// Pixel of a point in the base frame, m.
    pub fn project(&self, point_in_base: Vector3<f64>) -> Option<[f64; 2]> {
        self.lens.project(&(self.camera_from_base * Point3::from(point_in_base)))
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::{FRAC_PI_2, PI};

    use super::*;
    use crate::ros::messages::RegionOfInterest;

    fn info() -> CameraInfo {
        let k = [500.0, 0.0, 320.0, 0.0, 510.0, 240.0, 0.0, 0.0, 1.0];
        CameraInfo { width: 640, height: 480, distortion_model: "plumb_bob".into(), k, ..CameraInfo::default() }
    }

    fn near(found: Option<[f64; 2]>, expected: [f64; 2]) {
        let found = found.unwrap();
        assert!((found[0] - expected[0]).abs() < 1e-6 && (found[1] - expected[1]).abs() < 1e-6, "{found:?}");
    }

    #[test]
    fn a_camera_that_looks_along_x_sees_left_at_the_left_and_up_at_the_top() {
        // Optical z along base x, x (right) along −y, y (down) along −z.
        let place = base_from_camera([-1.0, 0.0, 0.5, -FRAC_PI_2, 0.0, -FRAC_PI_2]);
        let camera = Camera::new(Lens::new(&info()).unwrap(), &place);
        near(camera.project(Vector3::new(1.0, 0.0, 0.5)), [320.0, 240.0]);
        near(camera.project(Vector3::new(1.0, 0.2, 0.5)), [320.0 - 50.0, 240.0]);
        near(camera.project(Vector3::new(1.0, 0.0, 0.7)), [320.0, 240.0 - 51.0]);
        assert_eq!(camera.project(Vector3::new(-2.0, 0.0, 0.5)), None, "behind it");
        assert_eq!(camera.project(Vector3::new(-0.98, 1.0, 0.5)), None, "far outside");
    }

    #[test]
    fn a_camera_that_looks_down_sees_the_table() {
        let camera = Camera::new(Lens::new(&info()).unwrap(), &base_from_camera([0.5, 0.0, 1.0, PI, 0.0, 0.0]));
        near(camera.project(Vector3::new(0.6, 0.1, 0.0)), [320.0 + 50.0, 240.0 - 51.0]);
    }

    #[test]
    fn lenses_bend_as_their_models_say() {
        let at = |info: &CameraInfo, x: f64, y: f64| Lens::new(info).unwrap().project(&Point3::new(x, y, 1.0));
        // The point (0.5, 0.2) by the formulas of OpenCV's documentation: r² = 0.29.
        let d = vec![-0.2, 0.05, 0.001, -0.002, 0.01];
        let radial = 1.0 - 0.2 * 0.29 + 0.05 * 0.29f64.powi(2) + 0.01 * 0.29f64.powi(3);
        let x = 0.5 * radial + 2.0 * 0.001 * 0.1 - 0.002 * (0.29 + 0.5);
        let y = 0.2 * radial + 0.001 * (0.29 + 0.08) - 2.0 * 0.002 * 0.1;
        near(at(&CameraInfo { d, ..info() }, 0.5, 0.2), [500.0 * x + 320.0, 510.0 * y + 240.0]);
        let fisheye = CameraInfo { distortion_model: "equidistant".into(), d: vec![0.1, 0.0, 0.0, 0.0], ..info() };
        let angle = 0.5f64.atan();
        near(at(&fisheye, 0.5, 0.0), [500.0 * angle * (1.0 + 0.1 * angle * angle) + 320.0, 240.0]);
        near(at(&fisheye, 0.0, 0.0), [320.0, 240.0]);
    }

    #[test]
    fn a_part_of_the_sensor_and_joined_pixels_are_taken_into_account() {
        let roi =
            RegionOfInterest { x_offset: 100, y_offset: 40, width: 400, height: 300, ..RegionOfInterest::default() };
        let lens = Lens::new(&CameraInfo { roi, binning_x: 2, binning_y: 2, ..info() }).unwrap();
        assert_eq!(lens.size, (200, 150));
        near(lens.project(&Point3::new(0.0, 0.0, 1.0)), [110.0, 100.0]);
    }

    #[test]
    fn what_is_no_calibration_is_said_to_be_none() {
        let uncalibrated = Lens::new(&CameraInfo { k: [0.0; 9], ..info() }).unwrap_err();
        assert!(uncalibrated.contains("camera matrix"), "{uncalibrated}");
        assert!(Lens::new(&CameraInfo { d: vec![f64::NAN], ..info() }).is_err());
        let unknown = Lens::new(&CameraInfo { distortion_model: "mirror".into(), ..info() }).unwrap_err();
        assert!(unknown.contains("mirror"), "{unknown}");
    }
}
