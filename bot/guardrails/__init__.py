"""What keeps a change from doing harm before it is made: reading its diff, and rules about its risk."""
