//! A bar for what takes long: on a terminal only, on standard error, so that output can be piped beside it.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar towards a total, or a spinner where the total is not known. It is taken away when this is dropped.
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Counts items.
    pub fn items(total: Option<u64>) -> Progress {
        Progress::new(
            total,
            "{bar:30} {human_pos} of about {human_len} keys, {per_sec}, {eta} left",
            "{spinner} {human_pos} keys, {per_sec}",
        )
    }

    /// Counts bytes.
    pub fn bytes(total: Option<u64>) -> Progress {
        Progress::new(
            total,
            "{bar:30} {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left",
            "{spinner} {binary_bytes}, {binary_bytes_per_sec}",
        )
    }

    fn new(total: Option<u64>, bar: &str, spinner: &str) -> Progress {
        // Draws nothing where standard error is no terminal.
        let target = ProgressDrawTarget::stderr_with_hz(REDRAWS_PER_SECOND);
        let drawn = ProgressBar::with_draw_target(total, target);
        let style = ProgressStyle::with_template(if total.is_some() { bar } else { spinner });
        let drawn = drawn.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        drawn.enable_steady_tick(Duration::from_millis(250));
        Progress { bar: drawn }
    }

    /// Adds to what is done.
    pub fn advance(&self, count: u64) {
        self.bar.inc(count);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

const REDRAWS_PER_SECOND: u8 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_right() {
        for progress in [Progress::items(Some(3)), Progress::bytes(Some(3)), Progress::items(None)] {
            progress.advance(2);
            assert_eq!(progress.bar.position(), 2);
        }
        for template in ["{bar:30} {human_pos} {human_len} {per_sec} {eta}", "{spinner} {binary_bytes_per_sec}"] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
