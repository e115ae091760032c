"""The suite `training`: whether what is trained is learned, in time, without harm, and never lost."""
