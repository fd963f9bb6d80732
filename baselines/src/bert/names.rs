//! Names of BERT's parameters in Hugging Face checkpoints.

/// Name of our parameter `name` in a `BertForMaskedLM` checkpoint, or `None` for a name that BERT
/// does not have. An encoder-only checkpoint (`BertModel`) has the same names without `bert.`.
///
/// | here | there |
/// |---|---|
/// | `embedding.token`, `.position`, `.type` | `bert.embeddings.{word,position,token_type}_embeddings.weight` |
/// | `embedding.norm.*` | `bert.embeddings.LayerNorm.*` |
/// | `layers.l.attention.{query,key,value}.*` | `bert.encoder.layer.l.attention.self.{query,key,value}.*` |
/// | `layers.l.attention.output.*` | `bert.encoder.layer.l.attention.output.dense.*` |
/// | `layers.l.attention.norm.*` | `bert.encoder.layer.l.attention.output.LayerNorm.*` |
/// | `layers.l.feed_forward.inner.*` | `bert.encoder.layer.l.intermediate.dense.*` |
/// | `layers.l.feed_forward.outer.*` | `bert.encoder.layer.l.output.dense.*` |
/// | `layers.l.feed_forward.norm.*` | `bert.encoder.layer.l.output.LayerNorm.*` |
/// | `head.dense.*`, `head.norm.*` | `cls.predictions.transform.{dense,LayerNorm}.*` |
/// | `head.decoder.weight` | `cls.predictions.decoder.weight` |
/// | `head.decoder.bias` | `cls.predictions.bias` |
///
/// Shapes are the same on both sides.
pub fn hugging_face_name(name: &str) -> Option<String> {
    let fixed = match name {
        "embedding.token" => "bert.embeddings.word_embeddings.weight",
        "embedding.position" => "bert.embeddings.position_embeddings.weight",
        "embedding.type" => "bert.embeddings.token_type_embeddings.weight",
        "head.decoder.weight" => "cls.predictions.decoder.weight",
        "head.decoder.bias" => "cls.predictions.bias",
        _ => "",
    };
    if !fixed.is_empty() {
        return Some(fixed.to_owned());
    }
    let (stem, ending) = name.rsplit_once('.')?;
    if !matches!(ending, "weight" | "bias") {
        return None;
    }
    let stem = match stem {
        "embedding.norm" => "bert.embeddings.LayerNorm".to_owned(),
        "head.dense" => "cls.predictions.transform.dense".to_owned(),
        "head.norm" => "cls.predictions.transform.LayerNorm".to_owned(),
        _ => {
            let (layer, part) = stem.strip_prefix("layers.")?.split_once('.')?;
            layer.parse::<usize>().ok()?;
            let part = match part {
                "attention.query" => "attention.self.query",
                "attention.key" => "attention.self.key",
                "attention.value" => "attention.self.value",
                "attention.output" => "attention.output.dense",
                "attention.norm" => "attention.output.LayerNorm",
                "feed_forward.inner" => "intermediate.dense",
                "feed_forward.outer" => "output.dense",
                "feed_forward.norm" => "output.LayerNorm",
                _ => return None,
            };
            format!("bert.encoder.layer.{layer}.{part}")
        }
    };
    Some(format!("{stem}.{ending}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use models::family::FamilyConfig;

    use super::*;
    use crate::bert::BertConfig;

    #[test]
    fn invariant_every_parameter_has_its_own_name_there() {
        let layout = BertConfig { layers: 2, ..BertConfig::default() }.layout().unwrap();
        let names: BTreeSet<String> =
            layout.specs().iter().map(|spec| hugging_face_name(spec.name()).unwrap()).collect();
        assert_eq!(names.len(), layout.specs().len());
        for unknown in ["layers.x.attention.key.bias", "layers.0.feed_forward.gate.weight", "a"] {
            assert_eq!(hugging_face_name(unknown), None);
        }
    }
}
