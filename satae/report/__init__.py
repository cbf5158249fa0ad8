"""What is written beside a result: the report page, a picture and the reasons of each region, STAC Items."""
