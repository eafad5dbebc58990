"""QA: two folders of photos side by side, a verdict per photo, a page and a JUnit file."""
