"""The page at `/`: a person pastes a solution and sees how far each step can be trusted. Plain files, no build step."""
