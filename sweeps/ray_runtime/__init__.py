"""Ray: connecting, resources, worker groups kept between trials, calls on workers."""
