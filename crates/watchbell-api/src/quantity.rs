//! Quantities of resources: `250m`, `1.5Gi`, `1e3`.
//!
//! Source: `k8s.io/apimachinery/pkg/api/resource`. A quantity is a fixed-point number with at most nine decimal places; it
//! remembers which family of suffixes it was written in and prints in that family's canonical form: no fraction, the
//! largest suffix that keeps it whole.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde_json::Value;

/// Kubernetes holds no quantity above the largest `int64`.
const UNITS_MAX: i128 = i64::MAX as i128;
const NANOS_PER_UNIT: i128 = 1_000_000_000;
const NANOS_MAX: i128 = UNITS_MAX * NANOS_PER_UNIT;

/// Powers of ten and of 1024 with their suffixes, largest first.
const DECIMAL: [(&str, i32); 10] =
    [("E", 18), ("P", 15), ("T", 12), ("G", 9), ("M", 6), ("k", 3), ("", 0), ("m", -3), ("u", -6), ("n", -9)];
const BINARY: [(&str, u32); 6] = [("Ei", 6), ("Pi", 5), ("Ti", 4), ("Gi", 3), ("Mi", 2), ("Ki", 1)];

/// The family of suffixes a quantity prints in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `n u m k M G T P E`
    DecimalSi,
    /// `Ki Mi Gi Ti Pi Ei`
    BinarySi,
    /// `e3`, `e6`…
    DecimalExponent,
}

/// An amount of a resource. Compared by its value, whatever the format.
#[derive(Debug, Clone, Copy)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

/// A text that is no quantity; worded as the API server words it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
pub struct ParseQuantityError;

impl Quantity {
    pub const ZERO: Quantity = Quantity { nanos: 0, format: Format::DecimalSi };

    pub fn from_units(units: i64, format: Format) -> Quantity {
        Quantity { nanos: i128::from(units) * NANOS_PER_UNIT, format }
    }

    /// `from_millis(250)` is `250m`.
    pub fn from_millis(millis: i64) -> Quantity {
        Quantity { nanos: i128::from(millis) * 1_000_000, format: Format::DecimalSi }
    }

    /// As it stands in JSON: a string, or a number as people write it in YAML.
    pub fn from_value(value: &Value) -> Result<Quantity, ParseQuantityError> {
        match value {
            Value::String(text) => text.parse(),
            Value::Number(number) => number.to_string().parse(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => Err(ParseQuantityError),
        }
    }

    /// `from_nanos(1_500_000_000, …)` is one and a half; held within Kubernetes' bounds.
    pub fn from_nanos(nanos: i128, format: Format) -> Quantity {
        Quantity { nanos: nanos.clamp(-NANOS_MAX, NANOS_MAX), format }
    }

    /// The exact amount, in billionths.
    pub fn as_nanos(&self) -> i128 {
        self.nanos
    }

    /// The family of suffixes it prints in.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Nearly the amount: for ratios.
    pub fn as_f64(&self) -> f64 {
        self.nanos as f64 / NANOS_PER_UNIT as f64
    }

    /// Thousandths, rounded up (away from zero), as `MilliValue` of Go does.
    pub fn as_millis(&self) -> i64 {
        saturate(round_away(self.nanos, 1_000_000))
    }

    /// Whole units (bytes, pods), rounded up (away from zero).
    pub fn as_units(&self) -> i64 {
        saturate(round_away(self.nanos, NANOS_PER_UNIT))
    }

    /// Bytes, rounded up; what is below zero counts as none.
    pub fn as_bytes(&self) -> u64 {
        u64::try_from(self.as_units()).unwrap_or(0)
    }

    pub fn is_zero(&self) -> bool {
        self.nanos == 0
    }

    pub fn is_negative(&self) -> bool {
        self.nanos < 0
    }

    /// Whether it is a whole number of units.
    pub fn is_whole(&self) -> bool {
        self.nanos % NANOS_PER_UNIT == 0
    }

    /// Rounded up to a thousandth: the finest amount that Kubernetes keeps in lists of resources.
    #[must_use]
    pub fn round_up_to_millis(self) -> Quantity {
        Quantity { nanos: round_away(self.nanos, 1_000_000) * 1_000_000, format: self.format }
    }

    /// The sum, in this quantity's format (or the other's when this is zero), held within Kubernetes' bounds.
    #[must_use]
    pub fn plus(self, other: Quantity) -> Quantity {
        let format = if self.is_zero() { other.format } else { self.format };
        Quantity { nanos: (self.nanos + other.nanos).clamp(-NANOS_MAX, NANOS_MAX), format }
    }

    /// The difference; see [`Quantity::plus`].
    #[must_use]
    pub fn minus(self, other: Quantity) -> Quantity {
        self.plus(Quantity { nanos: -other.nanos, format: other.format })
    }
}

fn saturate(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

fn round_away(value: i128, unit: i128) -> i128 {
    let whole = value / unit;
    if value % unit == 0 { whole } else { whole + value.signum() }
}

/// What stands after the digits: the power of ten or of 1024 it multiplies by.
fn suffix(text: &str) -> Option<(Format, i32, u32)> {
    if let Some((_, power)) = DECIMAL.iter().find(|(s, _)| *s == text) {
        return Some((Format::DecimalSi, *power, 0));
    }
    if let Some((_, power)) = BINARY.iter().find(|(s, _)| *s == text) {
        return Some((Format::BinarySi, 0, *power));
    }
    let exponent = text.strip_prefix(['e', 'E'])?;
    Some((Format::DecimalExponent, exponent.parse().ok()?, 0))
}

impl FromStr for Quantity {
    type Err = ParseQuantityError;

    fn from_str(text: &str) -> Result<Quantity, ParseQuantityError> {
        let (negative, unsigned) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (number, tail) = unsigned.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
            return Err(ParseQuantityError);
        }
        let (format, power_of_ten, power_of_1024) = suffix(tail).ok_or(ParseQuantityError)?;
        let digits = whole.bytes().chain(fraction.bytes()).map(|b| b - b'0');
        let scale = power_of_ten.saturating_sub(i32::try_from(fraction.len()).unwrap_or(i32::MAX));
        let nanos = to_nanos(digits, scale, power_of_1024);
        Ok(Quantity { nanos: if negative { -nanos } else { nanos }, format })
    }
}

/// `digits × 10^scale × 1024^power` in billionths, rounded up and held at the bound.
fn to_nanos(digits: impl Iterator<Item = u8>, scale: i32, power_of_1024: u32) -> i128 {
    // Twenty-eight significant digits are more than the bound has; further ones only round.
    const SIGNIFICANT_MAX: u128 = 10u128.pow(28);
    let mut mantissa = 0u128;
    let mut dropped = 0i32;
    let mut inexact = false;
    for digit in digits {
        if mantissa < SIGNIFICANT_MAX {
            mantissa = mantissa * 10 + u128::from(digit);
        } else {
            dropped = dropped.saturating_add(1);
            inexact |= digit != 0;
        }
    }
    if mantissa == 0 {
        return 0;
    }
    // Whatever is left of 1024^power after as many halvings as the decimal places need is multiplied first.
    let bound = NANOS_MAX as u128;
    let mut scale = scale.saturating_add(dropped).saturating_add(9);
    let mut value = mantissa;
    for _ in 0..power_of_1024 {
        while scale < 0 && value > u128::MAX / 1024 {
            inexact |= !value.is_multiple_of(10);
            value /= 10;
            scale += 1;
        }
        match value.checked_mul(1024) {
            Some(product) => value = product,
            None => return NANOS_MAX,
        }
    }
    while scale > 0 && value <= bound {
        value *= 10;
        scale -= 1;
    }
    while scale < 0 && value > 0 {
        inexact |= !value.is_multiple_of(10);
        value /= 10;
        scale += 1;
    }
    value = value.saturating_add(u128::from(inexact));
    value.min(bound) as i128
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let units = self.nanos / NANOS_PER_UNIT;
        // A small or a broken number of units has no good binary form.
        let format = match self.format {
            Format::BinarySi if !self.is_whole() || (-1024 < units && units < 1024) => Format::DecimalSi,
            other => other,
        };
        match format {
            Format::BinarySi => {
                let (suffix, power) = BINARY
                    .iter()
                    .find(|(_, power)| units % 1024i128.pow(*power) == 0)
                    .copied()
                    .unwrap_or(("", 0));
                write!(f, "{}{suffix}", units / 1024i128.pow(power))
            }
            Format::DecimalSi | Format::DecimalExponent => {
                let (suffix, power) = DECIMAL
                    .iter()
                    .find(|(_, power)| self.nanos % 10i128.pow((power + 9).unsigned_abs()) == 0)
                    .copied()
                    .unwrap_or(("n", -9));
                let mantissa = self.nanos / 10i128.pow((power + 9).unsigned_abs());
                match (format, power) {
                    (Format::DecimalExponent, 0) => write!(f, "{mantissa}"),
                    (Format::DecimalExponent, _) => write!(f, "{mantissa}e{power}"),
                    _ => write!(f, "{mantissa}{suffix}"),
                }
            }
        }
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Quantity) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Quantity) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Quantity) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

#[cfg(test)]
mod tests;
