"""The tools and versions of the fleet, and two servers side by side, in JSON and for the pages."""
