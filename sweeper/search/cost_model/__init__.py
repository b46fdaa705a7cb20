"""The model of how parameters and budget decide a cost."""
