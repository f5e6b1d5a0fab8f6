"""Intake, dedupe, life cycle, units and routing of incidents."""
