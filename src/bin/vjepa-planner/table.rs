//! Tables in text.

use std::fmt::Write as _;

/// A table with right-aligned columns, as wide as they need; the first row is the head.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let cells = |column: usize| rows.iter().filter_map(move |row| row.get(column));
    let widths: Vec<usize> =
        (0..columns).map(|column| cells(column).map(|cell| cell.chars().count()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        for (cell, width) in row.iter().zip(&widths) {
            // Writing to a String cannot fail.
            let _infallible = write!(text, "  {cell:>width$}");
        }
        text.push('\n');
    }
    text
}

/// Three significant digits at least: 0.0123, 1.23, 12.3, 1234.
pub fn number(value: f64) -> String {
    let digits = match value.abs() {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 1.0 => 2,
        v if v >= 0.1 => 3,
        _ => 4,
    };
    format!("{value:.digits$}")
}

/// A size in the unit that suits it.
pub fn bytes(count: u64) -> String {
    let count = count as f64;
    match count {
        c if c >= 1e9 => format!("{:.2} GB", c / 1e9),
        c if c >= 1e6 => format!("{:.2} MB", c / 1e6),
        c => format!("{:.1} kB", c / 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        assert_eq!(table(&[row(["batch", "ms"]), row(["1", "12.5"])]), "  batch    ms\n      1  12.5\n");
    }

    #[test]
    fn numbers_have_three_digits() {
        let texts = [0.01234, 0.1234, 1.234, 12.34, 123.4, 1234.6].map(number);
        assert_eq!(texts, ["0.0123", "0.123", "1.23", "12.3", "123", "1235"]);
        assert_eq!([bytes(1500), bytes(2_783_424), bytes(5_500_000_000)], ["1.5 kB", "2.78 MB", "5.50 GB"]);
    }
}
