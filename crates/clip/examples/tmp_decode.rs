use clip::*;
use sha2::{Digest, Sha256};
use std::io::BufRead;
fn main() {
    for l in std::io::stdin().lock().lines() {
        let p = l.unwrap();
        let b = std::fs::read(&p).unwrap();
        let t = std::time::Instant::now();
        match decode(
            &b,
            if std::env::var("FAST").is_ok() { DecodeMode::Fast } else { DecodeMode::Exact },
            224,
            &DecodeLimits::default(),
        ) {
            Ok(x) => {
                let d = t.elapsed();
                let h: String = Sha256::digest(&x.rgb).iter().map(|b| format!("{b:02x}")).collect();
                let m = Model::open("demo").unwrap();
                let t2 = std::time::Instant::now();
                let v = m.preprocess().apply(&x);
                let d2 = t2.elapsed();
                assert!(v.len() > 0);
                println!(
                    "{p}\tok\t{}x{}\t{h}\t{:.1}\t{:.1}",
                    x.width,
                    x.height,
                    d.as_secs_f64() * 1e3,
                    d2.as_secs_f64() * 1e3
                )
            }
            Err(e) => println!("{p}\terr\t{e}"),
        }
    }
}
