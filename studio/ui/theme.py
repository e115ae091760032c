"""The look that gradio's own widgets take: clay on stone, one accent. The rest is page.css."""

from gradio.themes import Base
from gradio.themes.utils import colors, fonts, sizes

ACCENT, ACCENT_DARK = "#d4663a", "#e98256"
CLAY = colors.Color(
    name="clay",
    c50="#fbf1ec",
    c100="#f6e0d6",
    c200="#efc6b3",
    c300="#eaa98c",
    c400=ACCENT_DARK,
    c500=ACCENT,
    c600="#b84f27",
    c700="#97401f",
    c800="#74321a",
    c900="#522413",
    c950="#341709",
)
STONE = colors.Color(
    name="stone",
    c50="#faf9f7",
    c100="#f3f2ef",
    c200="#e5e3df",
    c300="#d3d0cb",
    c400="#a5a19a",
    c500="#75716b",
    c600="#56534e",
    c700="#3c3a37",
    c800="#292826",
    c900="#1e1d1c",
    c950="#161514",
)


def studio_theme() -> Base:
    """Fonts are gradio's bundled IBM Plex: nothing is fetched from elsewhere. Its SemiBold files lack most letters."""
    weights = (400, 700)
    theme = Base(
        primary_hue=CLAY,
        secondary_hue=STONE,
        neutral_hue=STONE,
        radius_size=sizes.radius_md,
        font=(fonts.LocalFont("IBM Plex Sans", weights=weights), "system-ui", "sans-serif"),
        font_mono=(fonts.LocalFont("IBM Plex Mono", weights=weights), "ui-monospace", "monospace"),
    )
    return theme.set(
        body_background_fill="*neutral_100",
        body_background_fill_dark="*neutral_950",
        body_text_color="#262522",
        body_text_color_dark="#ece9e4",
        body_text_color_subdued="#65615b",
        body_text_color_subdued_dark="#aaa59d",
        block_background_fill="transparent",
        block_background_fill_dark="transparent",
        block_border_width="0px",
        block_border_width_dark="0px",
        block_shadow="none",
        block_padding="0px",
        block_label_background_fill="transparent",
        block_title_text_size="*text_sm",
        block_title_text_weight="500",
        block_title_text_color="*body_text_color_subdued",
        block_title_text_color_dark="*body_text_color_subdued",
        panel_border_width="0px",
        input_background_fill="#ffffff",
        input_background_fill_dark="*neutral_900",
        input_border_color="*neutral_300",
        input_border_color_dark="*neutral_700",
        input_border_color_focus="*primary_500",
        input_border_color_focus_dark="*primary_400",
        input_border_width="1px",
        input_radius="8px",
        input_shadow="none",
        input_shadow_focus="none",
        button_primary_background_fill="#c2552b",
        button_primary_background_fill_hover="#ab4822",
        button_primary_background_fill_dark="*primary_400",
        button_primary_background_fill_hover_dark="#f09673",
        button_primary_text_color="#ffffff",
        button_primary_text_color_dark="#21120b",
        button_large_radius="10px",
        slider_color="*primary_500",
        slider_color_dark="*primary_400",
        checkbox_background_color_selected="*primary_500",
        checkbox_background_color_selected_dark="*primary_400",
        color_accent_soft="*primary_50",
        color_accent_soft_dark="*neutral_800",
    )
