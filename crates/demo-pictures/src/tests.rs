use super::*;

fn scene(thing: &str, second: Option<&str>, background: usize) -> Scene {
    let named = |words| Thing::named(words).expect("a thing that can be drawn");
    Scene { thing: named(thing), second: second.map(named), background: &BACKGROUNDS[background] }
}

#[test]
fn the_seed_decides_the_picture() {
    let scene = scene("yellow car", None, 0);
    assert_eq!(draw(&scene, 64, 48, 1), draw(&scene, 64, 48, 1));
    assert_ne!(draw(&scene, 64, 48, 1), draw(&scene, 64, 48, 2));
    assert_eq!(draw(&scene, 64, 48, 1).len(), 64 * 48 * 3);
}

#[test]
fn things_survive_the_centre_crop() {
    // Plain night is nowhere bright red, and a red thing nowhere reaches the columns that the crop removes.
    for seed in 0..300 {
        let second = (seed % 2 == 0).then_some("red fish");
        let picture = draw(&scene(&format!("red {}", KINDS[seed as usize % 16].name), second, 4), 120, 60, seed);
        let red = |i: usize| picture[3 * i] > 150 && picture[3 * i + 1] < 90;
        assert!((0..7200).any(red), "seed {seed} shows nothing red");
        let outside = |i: &usize| !(30..90).contains(&(i % 120));
        assert!(!(0..7200).filter(outside).any(red), "seed {seed} has red outside the central square");
    }
}

#[test]
fn a_deck_of_160_shows_everything() {
    let all = scenes(&Mix { count: 160, two: 0.0, exactly: None }, 5);
    assert!(Thing::all().iter().all(|thing| all.iter().any(|scene| scene.thing == *thing)));
}

#[test]
fn exactly_is_exact() {
    let car = Thing::named("yellow car").expect("a thing that can be drawn");
    let all = scenes(&Mix { count: 240, two: 0.3, exactly: Some((car, 16)) }, 5);
    assert_eq!(all.len(), 240);
    assert_eq!(all.iter().filter(|scene| scene.things().any(|thing| thing == car)).count(), 16);
}
