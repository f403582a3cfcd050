//! Damage to what programs read, the same in every run, and a limit on what reading it may cost. For tests only.
#![warn(missing_docs)]

mod contained;
mod json;
mod numbers;

pub use contained::contained;
pub use json::json;
pub use numbers::Numbers;

/// So many damaged copies of each kind of input are tried.
pub const COPIES: usize = 1_000;

/// A damaged copy: some bytes changed, a part cut out, doubled or blanked, the end missing. Headers and footers suffer
/// most, where lengths stand.
pub fn bytes(whole: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let mut copy = whole.to_vec();
    for _ in 0..numbers.below(8) {
        let length = copy.len();
        let at = match numbers.below(4) {
            0 | 1 => numbers.below(length.min(200)),
            2 => length.saturating_sub(1 + numbers.below(200)),
            _ => numbers.below(length),
        };
        let Some(byte) = copy.get_mut(at) else { break };
        *byte = match numbers.below(3) {
            0 => numbers.below(256) as u8,
            1 => *byte ^ (1 << numbers.below(8)),
            _ => [0, 1, 0x7F, 0x80, 0xFF][numbers.below(5)],
        };
    }
    let from = numbers.below(copy.len());
    let to = (from + numbers.below(64)).min(copy.len());
    match numbers.below(8) {
        0 => copy.truncate(from),
        1 => drop(copy.drain(from..to)),
        2 => {
            let part = copy[from..to].to_vec();
            drop(copy.splice(from..from, part));
        }
        3 => copy[from..to].fill(if numbers.below(2) == 0 { 0 } else { 0xFF }),
        _ => {}
    }
    copy
}

/// A damaged copy of lines of JSON: of one of them its values, or bytes anywhere.
pub fn json_lines(whole: &str, numbers: &mut Numbers) -> Vec<u8> {
    if numbers.below(3) == 0 {
        return bytes(whole.as_bytes(), numbers);
    }
    let chosen = numbers.below(whole.lines().count());
    let lines = whole.lines().enumerate().map(|(i, line)| {
        let mut line = if i == chosen { json(line.as_bytes(), numbers) } else { line.as_bytes().to_vec() };
        line.push(b'\n');
        line
    });
    lines.collect::<Vec<_>>().concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_differ_and_are_the_same_in_every_run() {
        let whole = br#"{"a": [1, 2, {"b": "text"}], "c": null}"#;
        let copies = |seed| {
            let mut numbers = Numbers::new(seed);
            let mut all = Vec::new();
            for _ in 0..200 {
                all.push(bytes(whole, &mut numbers));
                all.push(json(whole, &mut numbers));
            }
            all
        };
        assert_eq!(copies(1), copies(1));
        assert_ne!(copies(1), copies(2));
        assert!(copies(1).iter().filter(|copy| *copy != whole).count() > 250);
        bytes(b"", &mut Numbers::new(1));
    }
}
