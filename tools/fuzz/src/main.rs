//! Parsers of foreign bytes under libFuzzer. `WATCHBELL_FUZZ` names the target; `make fuzz` runs them all.
//!
//! A target fails by a panic, by an overflow, or by a law that does not hold. Each law is stated where it is checked.
#![no_main]

mod advisories;
mod arrays;
mod dns;
mod documents;
mod expression;
mod files;
mod findings;
mod packages;
mod signatures;
mod stores;
mod text;
mod world;

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

type Target = fn(&[u8]);

/// Each parser with the name that `make fuzz` and a finding's file carry.
const TARGETS: [(&str, Target); 42] = [
    ("yaml", documents::yaml),
    ("json", documents::json),
    ("object", documents::object),
    ("protobuf", documents::protobuf),
    ("patch", documents::patch),
    ("expression", expression::expression),
    ("cron", text::cron),
    ("quantity", text::quantity),
    ("selector", text::selector),
    ("index_set", text::index_set),
    ("reference", text::reference),
    ("jwt", text::jwt),
    ("websocket", text::websocket),
    ("dns", dns::dns),
    ("profile", files::profile),
    ("cdi", files::cdi),
    ("image", files::image),
    ("bundle", signatures::bundle),
    ("certificate", signatures::certificate),
    ("timestamp", signatures::timestamp),
    ("trust_root", signatures::trust_root),
    ("statement", signatures::statement),
    ("simple_signing", signatures::simple_signing),
    ("rpm", packages::rpm),
    ("program", packages::program),
    ("jar", packages::jar),
    ("package_file", packages::file),
    ("bill", packages::bill),
    ("layer", packages::layer),
    ("versions", advisories::versions),
    ("advisories", advisories::import),
    ("advisory_index", advisories::index),
    ("dockerfile", findings::dockerfile),
    ("secret", findings::secrets),
    ("vex", findings::vex),
    ("ignore_file", findings::ignore_file),
    ("array_use", arrays::array_use),
    ("array_plan", arrays::array_plan),
    ("array_store", stores::array_store),
    ("s3_list", stores::s3_list),
    ("s3_parts", stores::s3_parts),
    ("world", world::requests),
];

static CHOSEN: OnceLock<Target> = OnceLock::new();

fn chosen() -> Target {
    let name = std::env::var("WATCHBELL_FUZZ").unwrap_or_default();
    match TARGETS.iter().find(|(known, _)| *known == name) {
        Some((_, target)) => *target,
        None => panic!("WATCHBELL_FUZZ must be one of {:?}", TARGETS.map(|(name, _)| name)),
    }
}

fuzz_target!(|data: &[u8]| {
    CHOSEN.get_or_init(chosen)(data);
});
