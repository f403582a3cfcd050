//! Phrases around short words. CLIP has learned from captions, and a bare word is none: the mean of several phrases says
//! better what people mean by it (Radford et al., "Learning Transferable Visual Models From Natural Language
//! Supervision", 2021, section 3.1.4). These have no article, so that `snow`, `children` and `yellow car` all fit, and
//! they say only what holds of any photo.

/// The words stand where the braces are.
const TEMPLATES: [&str; 4] = ["{}", "a photo of {}", "a picture of {}", "a photo of the {}"];

/// More words are a description that stands for itself.
const MOST_WORDS: usize = 3;

/// Words that only phrases have.
const OF_PHRASES: [&str; 20] = [
    "a", "an", "and", "at", "drawing", "image", "in", "my", "of", "on", "one", "our", "photo", "photos", "picture",
    "pictures", "some", "the", "two", "with",
];

/// What is encoded for `words`: phrases around them if they are short and no phrase themselves, else they alone.
pub fn phrases(words: &str) -> Vec<String> {
    let words = words.trim();
    let lower = words.to_lowercase();
    let each = || lower.split_whitespace();
    if each().count() > MOST_WORDS || each().any(|word| OF_PHRASES.contains(&word)) {
        return vec![words.to_owned()];
    }
    TEMPLATES.iter().map(|template| template.replace("{}", words)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_words_get_phrases_around_them() {
        assert_eq!(
            phrases(" Yellow  car "),
            ["Yellow  car", "a photo of Yellow  car", "a picture of Yellow  car", "a photo of the Yellow  car"]
        );
        assert_eq!(phrases("{}")[1], "a photo of {}");
    }

    #[test]
    fn a_phrase_stays_as_it_is() {
        for phrase in ["a yellow car", "Photo of snow", "children on grass", "red car green house", "THE sea"] {
            assert_eq!(phrases(phrase), [phrase]);
        }
    }
}
