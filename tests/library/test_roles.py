"""What the ends of names say."""

import pytest

from studio.library.roles import block_size, role_of

ROLES = {
    "a.lora_down.weight": ("a", "down"),
    "a.lora_up.weight": ("a", "up"),
    "a.lora_mid.weight": ("a", "mid"),
    "a.b.lora_A.weight": ("a.b", "down"),
    "a.b.lora_B.default.weight": ("a.b", "up"),
    "a.b.lora_A": ("a.b", "down"),
    "a.b.lora_B.bias": ("a.b", "up_bias"),
    "a.to_q_lora.down.weight": ("a.to_q", "down"),
    "a.to_q.lora.up.weight": ("a.to_q", "up"),
    "a.lora_linear_layer.up.weight": ("a", "up"),
    "a.lora_magnitude_vector": ("a", "magnitude"),
    "a.lora_magnitude_vector.default.weight": ("a", "magnitude"),
    "a.dora_scale": ("a", "dora_scale"),
    "a.hada_t1": ("a", "hada_t1"),
    "a.lokr_w2_b": ("a", "lokr_w2_b"),
    "a.oft_blocks": ("a", "oft_blocks"),
    "a.oft_R.default.weight": ("a", "oft_R"),
    "a.oft_R.weight": ("a", "oft_R"),
    "a.boft_R": ("a", "boft_R"),
    "a.boft_s.default": ("a", "boft_s"),
    "a.oft_diag": ("a", "oft_diag"),
    "a.oft_r": ("", ""),
    "a.soft_R.weight": ("", ""),
    "a.boft_R.weight": ("", ""),
    "a.rescale": ("a", "rescale"),
    "a.a1.weight": ("a", "glora_a1"),
    "a.diff_b": ("a", "diff_b"),
    "a.alpha": ("a", "alpha"),
    "a.weight": ("", ""),
    "a.down.weight": ("", ""),
    "a.lora_down.bias": ("", ""),
    "alpha": ("", "alpha"),
    "": ("", ""),
}


@pytest.mark.parametrize("name", ROLES)
def test_a_tensor_is_of_a_layer_what_the_end_of_its_name_says(name):
    assert role_of(name, ()) == ROLES[name]


def test_a_weight_is_ia3s_where_its_layer_says_whether_on_inputs():
    assert role_of("a.weight", {"a.on_input"}) == ("a", "ia3")


def test_a_triangle_tells_how_large_its_block_is():
    assert [block_size(size * (size - 1) // 2) for size in range(2, 300)] == [*range(2, 300)]
    assert [above for above in range(1, 30) if block_size(above)] == [1, 3, 6, 10, 15, 21, 28]
