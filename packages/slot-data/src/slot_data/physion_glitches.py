"""The 29 test videos of Physion whose rendering is faulty, as its authors list them
(manual_stim_evaluation_glitchy_test_stims.txt), and which of them SlotDiffusion leaves out.

Its code looks for each listed name in the paths of the videos, after removing `-redyellow` from
the paths. The last three names hold that word themselves, so they are never found: 26 videos are
left out instead of 29.
"""

from typing import Literal

BadStimuli = Literal["drop", "slotdiffusion", "keep"]

RECOLOURED = "-redyellow"  # in the names of test videos whose agent is red and patient yellow
LISTED = (
    "pilot_towers_nb4_fr015_SJ000_gr-01_mono1_dis1_occ1_boxroom_0001",
    "pilot_towers_nb4_fr015_SJ000_gr015sph_mono1_dis0_occ0_tdwroom_0000",
    "pilot_it2_collision_yeet_box_1_dis_1_occ_0005",
    "pilot_it2_collision_yeet_tdw_1_dis_1_occ_0006",
    "pilot_linking_nl1-8_mg000_aCylcap_bCyl_tdwroom_0013",
    "pilot_linking_nl1-8_mg000_aCylcap_bCyl_tdwroom_0022",
    "pilot-containment-box_0004",
    "pilot-containment-box_0012",
    "pilot-containment-box_0016",
    "pilot-containment-cone-plate_0003",
    "pilot-containment-cone-plate_0008",
    "pilot-containment-cone-plate_0013",
    "pilot-containment-cylinder-bowl_0003",
    "pilot-containment-cylinder-bowl_0006",
    "pilot-containment-cylinder-bowl_0008",
    "pilot-containment-cylinder-bowl_0010",
    "pilot-containment-cylinder-bowl_0016",
    "pilot-containment-cylinder-bowl_0018",
    "pilot-containment-cylinder-bowl_0024",
    "pilot_it2_drop_sizes_box_1_dis_1_occ_0007",
    "test10_0014",
    "test11_0015",
    "test13_0001",
    "test13_0010",
    "test14_0016",
    "test17_0004",
    "pilot_it2_rollingSliding_simple_ledge_box_1_dis_1_occ-redyellow_0000_img",
    "pilot_it2_rollingSliding_simple_ledge_box_1_dis_1_occ-redyellow_0001_img",
    "pilot_it2_rollingSliding_simple_ledge_box_1_dis_1_occ-redyellow_0002_img",
)


def stimulus_of(name: str) -> str:
    """The name of a stimulus without what files and lists add to it."""
    return name.replace(RECOLOURED, "").removesuffix("_img")


def is_dropped(path: str, policy: BadStimuli) -> bool:
    """path: of a test video, without its suffix."""
    if policy == "keep":
        return False
    if policy == "slotdiffusion":
        return any(name in path.replace(RECOLOURED, "") for name in LISTED)
    return stimulus_of(path.rpartition("/")[2]) in _STIMULI


_STIMULI = frozenset(map(stimulus_of, LISTED))
