"""Numbers about faces, from vectors alone: no picture is made or looked at here, and nothing is chosen."""
