//! What a launcher tells each of its processes through the environment.

/// Number of this process among those of its machine: OpenMPI's, Slurm's and torchrun's names.
const LOCAL_RANK: [&str; 3] = ["OMPI_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID", "LOCAL_RANK"];

/// The first of the variables `names` that `environment` holds as a number.
pub fn number(names: &[&str], environment: impl Fn(&str) -> Option<String>) -> Option<usize> {
    names.iter().find_map(|name| environment(name)?.trim().parse().ok())
}

/// Number of this process among those that a launcher started on this machine; 0 without one.
pub fn local_rank() -> usize {
    number(&LOCAL_RANK, |name| std::env::var(name).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invariant_the_first_launcher_that_names_a_number_is_believed() {
        let environment = |name: &str| match name {
            "SLURM_LOCALID" => Some("3".to_owned()),
            "LOCAL_RANK" => Some("5".to_owned()),
            "OMPI_COMM_WORLD_LOCAL_RANK" => Some("none".to_owned()),
            _ => None,
        };
        assert_eq!(number(&LOCAL_RANK, environment), Some(3));
        assert_eq!(number(&LOCAL_RANK, |_| None), None);
    }
}
