//! The catalogue of known exploited vulnerabilities (KEV).

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{ImportError, Importer, text};
use crate::identity::is_cve;
use crate::record::Exploited;

#[derive(Deserialize)]
struct Catalogue<'a> {
    #[serde(rename = "dateReleased", default)]
    date_released: Option<String>,
    #[serde(borrow)]
    vulnerabilities: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(rename = "cveID")]
    cve_id: String,
    date_added: String,
    due_date: Option<String>,
    known_ransomware_campaign_use: Option<String>,
}

pub(super) fn read(importer: &mut Importer, file: &str, bytes: &[u8]) -> Result<(), ImportError> {
    let catalogue: Catalogue<'_> = match serde_json::from_slice(bytes) {
        Ok(catalogue) => catalogue,
        Err(e) => {
            importer.bad(file, "", e);
            return Ok(());
        }
    };
    if let Some(second) = catalogue.date_released.as_deref().and_then(text::second) {
        importer.dated(second);
    }
    for (at, raw) in catalogue.vulnerabilities.iter().enumerate() {
        match entry(raw.get()) {
            Ok((cve, exploited)) => importer.exploited(cve, exploited),
            Err(reason) => importer.bad(file, format!("vulnerability {at}"), reason),
        }
    }
    Ok(())
}

fn entry(raw: &str) -> Result<(String, Exploited), String> {
    let entry: Entry = serde_json::from_str(raw).map_err(|e| e.to_string())?;
    let date = |text: &str| {
        let is_date = text.len() == 10 && text::second(text).is_some();
        is_date.then(|| text.to_owned()).ok_or_else(|| format!("{text:?} is no date"))
    };
    if !is_cve(&entry.cve_id) {
        return Err(format!("{:?} is no CVE", entry.cve_id));
    }
    let exploited = Exploited {
        added: date(&entry.date_added)?,
        due: entry.due_date.as_deref().map(date).transpose()?,
        in_ransomware: entry.known_ransomware_campaign_use.is_some_and(|use_| use_ == "Known"),
    };
    Ok((entry.cve_id, exploited))
}
