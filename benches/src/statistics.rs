//! The arithmetic of the report: medians, spread, ratios of paired rounds.
//!
//! Neighbours on a shared machine move a figure by far more than the servers differ, but they move both servers of one
//! round alike. So ratios are taken round by round, between figures that were measured seconds apart, and only then
//! their median is taken.

/// The middle of some rounds, with the two ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// The middle value, or the mean of the two middle ones.
    pub median: f64,
    /// The lowest round.
    pub min: f64,
    /// The highest round.
    pub max: f64,
}

impl Summary {
    /// Summarizes the rounds; none of them is not a number. Without rounds there is no summary.
    pub fn of(values: &[f64]) -> Option<Summary> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (&min, &max) = (sorted.first()?, sorted.last()?);
        let middle = sorted.len() / 2;
        let median = match sorted.len() % 2 {
            0 => (sorted[middle - 1] + sorted[middle]) / 2.0,
            _ => sorted[middle],
        };
        Some(Summary { median, min, max })
    }

    /// Half the distance between the ends, as a share of the median: the `±` of the table.
    pub fn spread(&self) -> f64 {
        match self.median {
            0.0 => 0.0,
            median => (self.max - self.min) / 2.0 / median,
        }
    }
}

/// Candidate over reference, round by round; a round whose reference is zero has no ratio.
pub fn paired_ratios(candidate: &[f64], reference: &[f64]) -> Option<Summary> {
    let ratios: Vec<f64> = candidate
        .iter()
        .zip(reference)
        .filter(|&(_, &reference)| reference != 0.0)
        .map(|(&candidate, &reference)| candidate / reference)
        .collect();
    Summary::of(&ratios)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(values: &[f64], median: f64, spread: f64) {
        let summary = Summary::of(values).unwrap();
        assert_eq!((summary.median, summary.spread()), (median, spread));
    }

    #[test]
    fn medians() {
        check(&[4.0], 4.0, 0.0);
        check(&[6.0, 2.0], 4.0, 0.5);
        check(&[5.0, 1.0, 4.0], 4.0, 0.5);
        check(&[1.0, 100.0, 2.0, 3.0], 2.5, 19.8);
        check(&[0.0, 0.0], 0.0, 0.0);
        assert_eq!(Summary::of(&[]), None);
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        // The machine was twice as fast in the second round: the ratio does not notice.
        let ratio = paired_ratios(&[10.0, 20.0], &[5.0, 10.0]).unwrap();
        assert_eq!(ratio, Summary { median: 2.0, min: 2.0, max: 2.0 });
    }

    #[test]
    fn rounds_without_reference_are_left_out() {
        assert_eq!(paired_ratios(&[1.0, 3.0], &[0.0, 2.0]).unwrap().median, 1.5);
        assert_eq!(paired_ratios(&[1.0], &[0.0]), None);
        assert_eq!(paired_ratios(&[1.0, 9.0], &[2.0]).unwrap().median, 0.5);
    }
}
