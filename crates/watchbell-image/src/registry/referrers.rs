//! What is attached to an image at a registry: the referrers API, and tags that stand for it.

use ureq::http::{HeaderMap, header};

use super::{Registry, Step, guessed_type};
use crate::artifact::{ArtifactSource, Listing, lines};
use crate::digest::excerpt;
use crate::{Descriptor, Digest, Error};

/// Of one list of referrers.
const PAGES_MAX: usize = 100;

impl ArtifactSource for Registry<'_> {
    fn origin(&self) -> String {
        Registry::origin(self)
    }

    fn tagged(&self, tag: &str) -> Result<Option<(Descriptor, Vec<u8>)>, Error> {
        let step = Step("an attachment");
        let answer = self.send_for_manifest(step, tag)?;
        if answer.status().as_u16() == 404 {
            return Ok(None);
        }
        let answer = self.accepted(step, answer)?;
        let (media_type, bytes) = self.read_manifest(step, answer)?;
        let (digest, size) = (Digest::of(&bytes), bytes.len() as u64);
        Ok(Some((Descriptor::new(media_type.unwrap_or_else(|| guessed_type(&bytes)), digest, size), bytes)))
    }

    /// `GET /v2/NAME/referrers/DIGEST` (OCI distribution 1.1, "Listing Referrers"). Registries of before do not know the
    /// address.
    fn referrers(&self, subject: &Digest) -> Result<Option<Listing>, Error> {
        let step = Step("the list of what is attached");
        let mut headers = HeaderMap::new();
        headers.insert(
            header::ACCEPT,
            crate::media_type::OCI_INDEX.parse().expect("a media type is a header value"),
        );
        let mut path = format!("/v2/{}/referrers/{subject}", self.reference.path());
        let mut listing = Listing::default();
        let mut left = self.limits.attachments_list_bytes_max;
        for _ in 0..PAGES_MAX {
            let answer = self.send(step, &path, &headers)?;
            if matches!(answer.status().as_u16(), 400 | 404 | 405 | 501) {
                return Ok(None);
            }
            let answer = self.accepted(step, answer)?;
            let is_index =
                answer.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).is_some_and(|t| {
                    t.split(';').next().unwrap_or_default().trim() == crate::media_type::OCI_INDEX
                });
            // A page for people is no list.
            if !is_index {
                return Ok(None);
            }
            let next = answer
                .headers()
                .get(header::LINK)
                .and_then(|v| v.to_str().ok())
                .map(|link| next_page(link).ok_or_else(|| excerpt(link)))
                .transpose()
                .map_err(|link| self.protocol(step, format!("it continues the list at \"{link}\"")))?;
            let bytes = match self.read_bounded(step, answer, left) {
                // What it lists before is as good as any.
                Err(error @ Error::Limit { .. }) => {
                    listing.cut = Some(error.to_string());
                    return Ok(Some(listing));
                }
                read => read?,
            };
            left -= bytes.len() as u64;
            listing.lines.extend(lines(&bytes, &Registry::origin(self))?);
            match next {
                Some(next) => path = next,
                None => return Ok(Some(listing)),
            }
        }
        listing.cut = Some(format!("the list has more than {PAGES_MAX} pages"));
        Ok(Some(listing))
    }

    fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
        self.listed(descriptor)
    }

    fn blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
        let step = Step("an attachment's content");
        let answer = self.get(step, &self.blob_path(&descriptor.digest), &HeaderMap::new())?;
        let bytes = self.read_bounded(step, answer, descriptor.size)?;
        self.verified(descriptor, "an attachment's content", bytes)
    }
}

/// The address of `<address>; rel="next"`, which must be one of this registry's.
fn next_page(link: &str) -> Option<String> {
    let (address, parameters) = link.strip_prefix('<')?.split_once('>')?;
    let is_next = parameters.split(';').any(|p| matches!(p.trim(), "rel=\"next\"" | "rel=next"));
    let is_here = address.starts_with("/v2/") && address.is_ascii() && !address.contains(' ');
    (is_next && is_here).then(|| address.to_owned())
}

#[cfg(test)]
mod tests {
    use super::next_page;

    #[test]
    fn a_list_goes_on_at_the_same_registry_alone() {
        let check =
            |link: &str, expect: Option<&str>| assert_eq!(next_page(link).as_deref(), expect, "{link}");
        check("</v2/a/referrers/x?n=1&last=2>; rel=\"next\"", Some("/v2/a/referrers/x?n=1&last=2"));
        check("</v2/a>;rel=next", Some("/v2/a"));
        check("<https://elsewhere/v2/a>; rel=\"next\"", None);
        check("<//elsewhere/v2/a>; rel=\"next\"", None);
        check("</v2/a>; rel=\"prev\"", None);
        check("/v2/a", None);
    }
}
