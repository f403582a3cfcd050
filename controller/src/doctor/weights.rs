//! Weights for hosts from their measured rates. Pure.

/// Two decimals as in every hosts file, more if a slow host would have nothing otherwise.
const DECIMALS: std::ops::RangeInclusive<u32> = 2..=9;

/// The share of each host's rate in their sum, rounded so that all of them together are exactly 1; none for a host without
/// a rate.
pub fn weights(rates: &[Option<f64>]) -> Vec<Option<f64>> {
    let usable = |rate: &Option<f64>| rate.filter(|rate| rate.is_finite() && *rate > 0.0);
    let rates: Vec<Option<f64>> = rates.iter().map(usable).collect();
    let sum: f64 = rates.iter().flatten().sum();
    let shares: Vec<f64> = rates.iter().map(|rate| rate.map_or(0.0, |rate| rate / sum)).collect();
    let least = rates.iter().flatten().map(|rate| rate / sum).fold(1.0, f64::min);
    let fine_enough = |decimals: &u32| least * 10f64.powi(*decimals as i32) >= 1.0;
    let scale = 10u64.pow(DECIMALS.into_iter().find(fine_enough).unwrap_or(*DECIMALS.end()));
    let units = rounded(&shares, scale);
    rates.iter().zip(units).map(|(rate, units)| rate.map(|_| units as f64 / scale as f64)).collect()
}

/// Whole numbers as near to `shares` of `scale` as their sum, `scale`, allows: each is rounded down, and those that lose
/// most are rounded up.
fn rounded(shares: &[f64], scale: u64) -> Vec<u64> {
    let exact: Vec<f64> = shares.iter().map(|share| share * scale as f64).collect();
    let mut units: Vec<u64> = exact.iter().map(|exact| exact.floor() as u64).collect();
    let mut losers: Vec<usize> = (0..shares.len()).filter(|&i| shares[i] > 0.0).collect();
    losers.sort_by(|&a, &b| exact[b].fract().total_cmp(&exact[a].fract()));
    let missing = scale.saturating_sub(units.iter().sum()) as usize;
    losers.into_iter().take(missing).for_each(|i| units[i] += 1);
    units
}

/// A weight as it stands in a hosts file: `0.40`, `0.125`.
pub fn word(weight: f64) -> String {
    let short = format!("{weight:.2}");
    if short.parse() == Ok(weight) { short } else { weight.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn weights_are_shares_of_the_speed() {
        let words = |rates: &[Option<f64>]| -> Vec<String> {
            weights(rates).into_iter().map(|w| w.map_or("-".into(), word)).collect()
        };
        assert_eq!(words(&[Some(20.0), None, Some(40.0), Some(40.0)]), ["0.20", "-", "0.40", "0.40"]);
        assert_eq!(words(&[Some(1.0); 3]), ["0.34", "0.33", "0.33"]);
        assert_eq!(words(&[Some(1.0), Some(999.0)]), ["0.001", "0.999"]);
        assert_eq!(words(&[Some(7.5)]), ["1.00"]);
        assert_eq!(words(&[None, Some(0.0), Some(f64::NAN)]), ["-", "-", "-"]);
        assert!(words(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn weights_sum_to_one_and_none_is_lost(rates in prop::collection::vec(prop::option::of(0.01f64..10_000.0), 0..600)) {
            let weights = weights(&rates);
            let given: Vec<(f64, f64)> = rates.iter().zip(&weights).filter_map(|(r, w)| Some(((*r)?, (*w)?))).collect();
            prop_assert_eq!(given.len(), rates.iter().flatten().count());
            prop_assert_eq!(weights.iter().flatten().count(), given.len());
            if !given.is_empty() {
                let sum: f64 = given.iter().map(|(_, w)| word(*w).parse::<f64>().unwrap()).sum();
                prop_assert!((sum - 1.0).abs() < 1e-9, "{}", sum);
            }
            let all: f64 = given.iter().map(|(rate, _)| rate).sum();
            for (rate, weight) in given {
                prop_assert!(weight > 0.0 && (weight - rate / all).abs() <= 0.01);
            }
        }
    }
}
