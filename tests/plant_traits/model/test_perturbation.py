import torch

from plant_traits.model.perturbation import drop_modalities, perturb_covariates


def test_a_share_of_the_records_with_both_loses_one_and_no_record_all() -> None:
    torch.manual_seed(0)
    image = torch.arange(40_000) % 4 < 3
    place = torch.arange(40_000) % 4 > 0
    seen, located = drop_modalities(image, place, 0.4)
    both = image & place
    assert torch.equal(seen[~both], image[~both])
    assert torch.equal(located[~both], place[~both])
    assert bool((seen | located).all())
    for left in (seen[both], located[both]):
        assert abs(float(left.float().mean()) - 0.8) < 0.015
    assert torch.equal(torch.stack(drop_modalities(image, place, 0.0)), torch.stack([image, place]))


def test_covariates_are_blurred_and_hidden_and_missing_ones_stay_so() -> None:
    torch.manual_seed(0)
    place = torch.zeros(2000, 10)
    place[:, 3] = torch.nan
    found = perturb_covariates(place, 0.1, 0.5)
    assert bool(found[:, 3].isnan().all())
    rest = found[:, [0, 1, 2, 4, 5, 6, 7, 8, 9]]
    assert abs(float(rest.isnan().float().mean()) - 0.5) < 0.02
    assert abs(float(rest[~rest.isnan()].std()) - 0.1) < 0.003
    before = torch.get_rng_state()
    assert perturb_covariates(place, 0.0, 0.0) is place
    assert torch.equal(torch.get_rng_state(), before)  # nothing is drawn where nothing is asked for
